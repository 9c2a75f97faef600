"""Step times from first principles: the slower of moving bytes and computing, phase by phase.

The roofline model (Williams, Waterman, Patterson, CACM 52(4), 2009) for one forward pass of a
dense decoder, whose phases follow one another: the matrix products, in which the weights are read
once, whatever rides in them; the attention of decoding requests, which reads their KV cache; the
attention of prompts, which computes. What it leaves out: sampling, quantisation, speculative
decoding, mixture-of-experts routing. Ratios between policies need less precision than absolute
times do; for those, calibrate on the server itself (``sagesched calibrate``).
"""

from __future__ import annotations

from dataclasses import dataclass

from sagesched.replay.steptime import Step

HOST_LINK = 25e9
"""Bytes per second between host and device: PCIe 4.0 x16 moves 31.5e9, some 80 % arrive."""

BYTES_PER_NUMBER = 2
"""bf16, weights and KV alike."""


@dataclass(frozen=True)
class ModelShape:
    """What of a dense decoder determines its step time.

    Attributes:
        name: for tables.
        parameters: number of weights.
        layers: transformer blocks.
        hidden: width of the residual stream, what an all-reduce carries per token.
        query_width: attention heads x head dimension.
        kv_heads: key and value heads.
        head_dim: numbers per head.
        gpus: tensor-parallel size.
    """

    name: str
    parameters: float
    layers: int
    hidden: int
    query_width: int
    kv_heads: int
    head_dim: int
    gpus: int = 1

    @property
    def weight_bytes(self) -> float:
        """Bytes of all weights, over all GPUs."""
        return self.parameters * BYTES_PER_NUMBER

    @property
    def kv_bytes(self) -> int:
        """Bytes of keys and values per token, over all layers and GPUs."""
        return 2 * self.layers * self.kv_heads * self.head_dim * BYTES_PER_NUMBER

    @property
    def attention_flops(self) -> int:
        """Operations per token pair: scores and weighted values, a multiply and an add each."""
        return 4 * self.layers * self.query_width


@dataclass(frozen=True)
class Gpu:
    """What a GPU is assumed to achieve (not its data sheet's peaks).

    Attributes:
        name: for tables.
        memory_bytes: capacity.
        bandwidth: memory, bytes per second.
        product_flops: matrix products, operations per second.
        attention_flops: attention of a prompt, operations per second.
        link_bandwidth: to the other GPUs of a tensor-parallel group, bytes per second, one way.
        all_reduce_latency_s: of a small all-reduce, seconds.
    """

    name: str
    memory_bytes: float
    bandwidth: float
    product_flops: float
    attention_flops: float
    link_bandwidth: float
    all_reduce_latency_s: float


@dataclass(frozen=True)
class Roofline:
    """The step-time model of one model on one kind of GPU.

    Attributes:
        model, gpu: what is modelled.
        gaps_s: of every pass on the device: between kernels, and in small ones.
        overhead_s: of every pass on the host, where the host does not work ahead; 0 unless set,
            since it is the server's and not the GPU's.
        host_link: bytes per second at which moved KV passes between host and device; ``inf``
            makes it free. Each GPU of a group moves its share over a link of its own.
    """

    model: ModelShape
    gpu: Gpu
    gaps_s: float = 1e-3
    overhead_s: float = 0.0
    host_link: float = HOST_LINK

    @property
    def name(self) -> str:
        """Such as ``llama-3.1-8b on h100``."""
        return f"{self.model.name} on {self.gpu.name}"

    def seconds(self, step: Step) -> float:
        """Duration of a step."""
        device = self._products_s(step) + self._attention_s(step) + self._all_reduce_s(step)
        return self.overhead_s + self.gaps_s + device + self._move_s(step)

    def _products_s(self, step: Step) -> float:
        """The weights read once, or two operations per weight and row; split over the GPUs."""
        rows = step.prefill_tokens + step.decode_requests
        read = self.model.weight_bytes / self.gpu.bandwidth
        computed = 2.0 * self.model.parameters * rows / self.gpu.product_flops
        return max(read, computed) / self.model.gpus

    def _attention_s(self, step: Step) -> float:
        """What decodes reads its KV cache, a prompt computes; split over the GPUs."""
        read = self.model.kv_bytes * step.decode_kv_tokens / self.gpu.bandwidth
        computed = self.model.attention_flops * step.prefill_attention / self.gpu.attention_flops
        return (read + computed) / self.model.gpus

    def _all_reduce_s(self, step: Step) -> float:
        """Two all-reduces a layer of every row's hidden state; a ring sends 2(g-1)/g of it."""
        gpus = self.model.gpus
        if gpus == 1:
            return 0.0
        rows = step.prefill_tokens + step.decode_requests
        sent = rows * self.model.hidden * BYTES_PER_NUMBER * 2 * (gpus - 1) / gpus
        once = self.gpu.all_reduce_latency_s + sent / self.gpu.link_bandwidth
        return 2 * self.model.layers * once

    def _move_s(self, step: Step) -> float:
        """KV that a policy moves between host and device; not overlapped with the pass."""
        moved = self.model.kv_bytes * step.moved_kv_tokens
        return moved / (self.host_link * self.model.gpus)
