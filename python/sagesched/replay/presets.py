"""Step-time presets: published shapes of models, data sheets of GPUs, and what is reached of them.

Models, from the ``config.json`` and model card of each repository on Hugging Face; all bf16:

| preset | source | parameters | layers | hidden | query heads | KV heads | head dimension |
|---|---|---|---|---|---|---|---|
| llama-3.1-8b | meta-llama/Llama-3.1-8B-Instruct | 8.0e9 | 32 | 4096 | 32 | 8 | 128 |
| qwen3-32b | Qwen/Qwen3-32B | 32.8e9 | 64 | 5120 | 64 | 8 | 128 |
| llama-3.3-70b-tp4 | meta-llama/Llama-3.3-70B-Instruct | 70.6e9 | 80 | 8192 | 64 | 8 | 128 |

GPUs, from NVIDIA's data sheets: memory, its bandwidth, dense bf16 tensor operations per second
(half of the figure "with sparsity"), and the link to other GPUs, one way (half of the figure that
counts both):

| preset | product | memory | bandwidth | dense bf16 | link |
|---|---|---|---|---|---|
| a40 | A40 PCIe | 48 GB | 0.696 TB/s | 149.7e12 | PCIe 4.0 x16, 31.5 GB/s |
| a100 | A100 SXM 80 GB | 80 GB | 2.039 TB/s | 312e12 | NVLink 3, 300 GB/s |
| h100 | H100 SXM 80 GB | 80 GB | 3.35 TB/s | 989.4e12 | NVLink 4, 450 GB/s |
| h200 | H200 SXM | 141 GB | 4.8 TB/s | 989.4e12 | NVLink 4, 450 GB/s |
| b200 | B200 SXM (HGX) | 180 GB | 8 TB/s | 2250e12 | NVLink 5, 900 GB/s |

Shares of these that a pass reaches, from passes of Llama-3.1-8B's shape measured on an H100 and an
H200 (``bench/results/gpu_step_time.md``) and carried over to the other GPUs: 90 % of the bandwidth,
65 % of the operations in matrix products, 50 % in a prompt's attention, and 1 ms a pass in gaps.
Links carry 70 % of their peak, and a small all-reduce takes 10 us over NVLink, 30 us over PCIe:
assumed, not measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from sagesched.replay.roofline import Gpu, ModelShape, Roofline

Named = TypeVar("Named")

BANDWIDTH_SHARE, PRODUCT_SHARE, ATTENTION_SHARE = 0.9, 0.65, 0.5
LINK_SHARE = 0.7
NVLINK_LATENCY_S, PCIE_LATENCY_S = 10e-6, 30e-6

STATIC_SHARE = 0.88
"""Share of the GPU memory that weights and KV pool get, near what SGLang's
``--mem-fraction-static`` comes to by default; the rest is for activations and CUDA graphs."""


def _gpu(
    name: str, memory: float, bandwidth: float, flops: float, link: float, latency_s: float
) -> Gpu:
    """A GPU at the shares above of its data sheet's peaks."""
    return Gpu(
        name=name,
        memory_bytes=memory,
        bandwidth=bandwidth * BANDWIDTH_SHARE,
        product_flops=flops * PRODUCT_SHARE,
        attention_flops=flops * ATTENTION_SHARE,
        link_bandwidth=link * LINK_SHARE,
        all_reduce_latency_s=latency_s,
    )


MODELS = {
    model.name: model
    for model in (
        ModelShape("llama-3.1-8b", 8.0e9, 32, 4096, 32 * 128, 8, 128),
        ModelShape("qwen3-32b", 32.8e9, 64, 5120, 64 * 128, 8, 128),
        ModelShape("llama-3.3-70b-tp4", 70.6e9, 80, 8192, 64 * 128, 8, 128, gpus=4),
    )
}

GPUS = {
    gpu.name: gpu
    for gpu in (
        _gpu("a40", 48e9, 0.696e12, 149.7e12, 31.5e9, PCIE_LATENCY_S),
        _gpu("a100", 80e9, 2.039e12, 312e12, 300e9, NVLINK_LATENCY_S),
        _gpu("h100", 80e9, 3.35e12, 989.4e12, 450e9, NVLINK_LATENCY_S),
        _gpu("h200", 141e9, 4.8e12, 989.4e12, 450e9, NVLINK_LATENCY_S),
        _gpu("b200", 180e9, 8.0e12, 2250e12, 900e9, NVLINK_LATENCY_S),
    )
}


def preset(model: str, gpu: str) -> Roofline:
    """The step-time model of a model on a GPU (or on as many as its preset says).

    Raises:
        ValueError: an unknown name, or weights that do not fit; the message lists what does.
    """
    shape, device = _find("--model", model, MODELS), _find("--gpu", gpu, GPUS)
    if default_pool_tokens(shape, device) <= 0:
        fitting = [g for g in GPUS if default_pool_tokens(shape, GPUS[g]) > 0]
        raise ValueError(
            f"{model} does not fit {gpu}: weights of {shape.weight_bytes / 1e9:.0f} GB, "
            f"{shape.gpus} x {device.memory_bytes / 1e9:.0f} GB of memory; "
            f"it fits {', '.join(fitting)}"
        )
    return Roofline(shape, device)


def default_pool_tokens(model: ModelShape, gpu: Gpu) -> int:
    """KV pool that the memory leaves beside the weights, tokens; 0 if they do not fit."""
    left = STATIC_SHARE * gpu.memory_bytes * model.gpus - model.weight_bytes
    return max(0, int(left / model.kv_bytes))


def _find(flag: str, name: str, table: Mapping[str, Named]) -> Named:
    if name not in table:
        raise ValueError(f"{flag}: unknown {name!r}; choose from {', '.join(table)}")
    return table[name]
