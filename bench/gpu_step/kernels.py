"""The operations between the matrix products, fused as serving engines fuse them (Triton)."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator,unused-ignore]
def _add_norm(x, residual, weight, out, eps, first: tl.constexpr, width: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64) * width
    columns = tl.arange(0, width)
    value = tl.load(x + row + columns).to(tl.float32)
    if not first:
        value += tl.load(residual + row + columns).to(tl.float32)
    tl.store(residual + row + columns, value.to(residual.dtype.element_ty))
    scale = tl.rsqrt(tl.sum(value * value) / width + eps)
    value = value * scale * tl.load(weight + columns).to(tl.float32)
    tl.store(out + row + columns, value.to(out.dtype.element_ty))


@triton.jit  # type: ignore[untyped-decorator,unused-ignore]
def _silu_mul(gate_up, out, width, block: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * block + tl.arange(0, block)
    inside = columns < width
    gate = tl.load(gate_up + row * 2 * width + columns, mask=inside).to(tl.float32)
    up = tl.load(gate_up + row * 2 * width + width + columns, mask=inside).to(tl.float32)
    result = gate / (1.0 + tl.exp(-gate)) * up
    tl.store(out + row * width + columns, result.to(out.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator,unused-ignore]
def _rotate_and_store(  # type: ignore[no-untyped-def]
    qkv, keys, values, slots, positions, table,
    queries: tl.constexpr, kv_heads: tl.constexpr, dim: tl.constexpr,
):  # fmt: skip
    half: tl.constexpr = dim // 2
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    at = tl.arange(0, half)
    start = qkv + (row * (queries + 2 * kv_heads) + head) * dim
    low = tl.load(start + at).to(tl.float32)
    high = tl.load(start + half + at).to(tl.float32)
    angles = table + tl.load(positions + row) * dim
    cos, sin = tl.load(angles + at), tl.load(angles + half + at)
    slot = tl.load(slots + row) * kv_heads * dim
    if head < queries + kv_heads:
        low, high = low * cos - high * sin, high * cos + low * sin
    if head < queries:
        goal = start
    elif head < queries + kv_heads:
        goal = keys + slot + (head - queries) * dim
    else:
        goal = values + slot + (head - queries - kv_heads) * dim
    tl.store(goal + at, low.to(goal.dtype.element_ty))
    tl.store(goal + half + at, high.to(goal.dtype.element_ty))


def add_norm(x: Any, residual: Any, weight: Any, first: bool) -> Any:
    """RMS norm of ``x + residual`` (of ``x`` at ``first``), which ``residual`` becomes; [n, w]."""
    out = torch.empty_like(x)
    _add_norm[(x.shape[0],)](x, residual, weight, out, 1e-5, first, x.shape[1], num_warps=8)
    return out


def silu_mul(gate_up: Any) -> Any:
    """``silu(gate) * up`` of [n, 2 w]."""
    rows, width = gate_up.shape[0], gate_up.shape[1] // 2
    out = gate_up.new_empty(rows, width)
    _silu_mul[(rows, triton.cdiv(width, 2048))](gate_up, out, width, 2048)
    return out


def rotate_and_store(
    qkv: Any, keys: Any, values: Any, slots: Any, positions: Any, table: Any, kv_heads: int
) -> None:
    """Rotary positions in place on the queries of [n, heads, d]; keys and values to their slots."""
    rows, heads, dim = qkv.shape
    _rotate_and_store[(rows, heads)](
        qkv, keys, values, slots, positions, table, heads - 2 * kv_heads, kv_heads, dim, num_warps=1
    )
