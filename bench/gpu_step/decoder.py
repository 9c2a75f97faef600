"""A decoder of Llama-3.1-8B's shape in bf16 with random weights, on a KV cache of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from bench.gpu_step.kernels import add_norm, rotate_and_store, silu_mul

HIDDEN, INTERMEDIATE, VOCABULARY = 4096, 14_336, 128_256
QUERIES, KV_HEADS, DIM = 32, 8, 128
CONTEXT = 32_768


@dataclass(frozen=True)
class Segment:
    """Sequences of equal lengths whose rows lie together in a batch.

    Attributes:
        sequences: how many.
        rows: new tokens of each; 1 decodes.
        length: KV tokens of each after the pass.
        at: where in the pool the first begins.
    """

    sequences: int
    rows: int
    length: int
    at: int = 0


def attend_flash(query: Any, key: Any, value: Any, causal: bool) -> Any:
    """torch's FlashAttention 2 on [sequences, rows, heads, d]; causal at the lower right."""
    forward = torch.ops.aten._flash_attention_forward
    return forward(
        query, key, value, None, None, query.shape[1], key.shape[1], 0.0, causal, False
    )[0]  # fmt: skip


def attend_cudnn(query: Any, key: Any, value: Any, causal: bool) -> Any:
    """The same by cuDNN; causal only without a prefix."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        out = torch.nn.functional.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2),
            is_causal=causal, enable_gqa=query.shape[2] != key.shape[2],
        )  # fmt: skip
    return out.transpose(1, 2)


ATTENTION = {"flash": attend_flash, "cudnn": attend_cudnn}


class Decoder:
    """Weights, pool and the pass.

    Args:
        layers: transformer blocks (32 are the model's).
        pool_tokens: KV tokens that the cache holds.
    """

    def __init__(self, layers: int, pool_tokens: int) -> None:
        def random(*shape: int, scale: float = 0.02) -> Any:
            return torch.empty(*shape, dtype=torch.bfloat16, device="cuda").normal_(0, scale)

        heads = QUERIES + 2 * KV_HEADS
        self.pool_tokens = pool_tokens
        self.embedding = random(VOCABULARY, HIDDEN, scale=1.0)
        self.head = random(VOCABULARY, HIDDEN)
        self.norms = torch.ones(2 * layers + 1, HIDDEN, dtype=torch.bfloat16, device="cuda")
        self.weights = [
            (
                random(heads * DIM, HIDDEN), random(HIDDEN, QUERIES * DIM),
                random(2 * INTERMEDIATE, HIDDEN), random(HIDDEN, INTERMEDIATE),
            )
            for _ in range(layers)
        ]  # fmt: skip
        self.keys = [random(pool_tokens, KV_HEADS, DIM, scale=1.0) for _ in range(layers)]
        self.values = [random(pool_tokens, KV_HEADS, DIM, scale=1.0) for _ in range(layers)]
        steps = torch.arange(0, DIM, 2, device="cuda") / DIM
        angles = torch.arange(CONTEXT, device="cuda")[:, None] * torch.exp(
            -math.log(500_000.0) * steps
        )
        self.rotary = torch.cat([angles.cos(), angles.sin()], 1).float().contiguous()
        self.backends = dict.fromkeys(("decode", "prefill"), "flash")

    def batch(self, segments: list[Segment]) -> tuple[Any, Any, Any]:
        """Positions and pool slots of all rows, and the rows whose next token is wanted."""
        positions: list[int] = []
        slots: list[int] = []
        last: list[int] = []
        for segment in segments:
            for sequence in range(segment.sequences):
                new = range(segment.length - segment.rows, segment.length)
                start = segment.at + sequence * segment.length
                positions += new
                slots += [start + place for place in new]
                last.append(len(positions) - 1)
        rows, places, wanted = (torch.tensor(x, device="cuda") for x in (positions, slots, last))
        return rows, places, wanted

    def forward(self, tokens: Any, batch: tuple[Any, Any, Any], segments: list[Segment]) -> Any:
        """Logits of the next token of each sequence."""
        positions, slots, last = batch
        linear = torch.nn.functional.linear
        x = torch.nn.functional.embedding(tokens, self.embedding)
        residual = torch.empty_like(x)
        for layer, (qkv_weight, out_weight, up_weight, down_weight) in enumerate(self.weights):
            x = add_norm(x, residual, self.norms[2 * layer], first=layer == 0)
            qkv = linear(x, qkv_weight).view(len(x), -1, DIM)
            keys, values = self.keys[layer], self.values[layer]
            rotate_and_store(qkv, keys, values, slots, positions, self.rotary, KV_HEADS)
            x = linear(self._attend(qkv, keys, values, segments), out_weight)
            x = add_norm(x, residual, self.norms[2 * layer + 1], first=False)
            x = linear(silu_mul(linear(x, up_weight)), down_weight)
        x = add_norm(x, residual, self.norms[-1], first=False)
        return linear(x[last], self.head)

    def _attend(self, qkv: Any, keys: Any, values: Any, segments: list[Segment]) -> Any:
        found, row = [], 0
        for segment in segments:
            rows = segment.sequences * segment.rows
            query = qkv[row : row + rows, :QUERIES].unflatten(0, (segment.sequences, segment.rows))
            key, value = (self.cached(pool, segment) for pool in (keys, values))
            if segment.rows == 1:
                found.append(self.attend_one(query, key, value).reshape(rows, QUERIES * DIM))
            else:
                prefix = segment.length > segment.rows
                name = "flash" if prefix else self.backends["prefill"]
                out = ATTENTION[name](query, key, value, True)
                found.append(out.reshape(rows, QUERIES * DIM))
            row += rows
        return found[0] if len(found) == 1 else torch.cat(found)

    def attend_one(self, query: Any, key: Any, value: Any) -> Any:
        """Attention of one row a sequence: the queries that share keys are rows of one product."""
        folded = query[:, 0].unflatten(1, (KV_HEADS, QUERIES // KV_HEADS)).transpose(1, 2)
        return ATTENTION[self.backends["decode"]](folded, key, value, False).transpose(1, 2)

    @staticmethod
    def cached(pool: Any, segment: Segment) -> Any:
        """What of a layer's pool the sequences of a segment attend to, [sequences, length, ...]."""
        used = pool[segment.at : segment.at + segment.sequences * segment.length]
        return used.unflatten(0, (segment.sequences, segment.length))
