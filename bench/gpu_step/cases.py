"""The passes that are timed: decode, prefill chunks with and without a cached prefix, mixed."""

from __future__ import annotations

from itertools import product

from bench.gpu_step.decoder import Segment
from sagesched.replay.steptime import Step

Case = tuple[str, list[Segment]]


def step_of(segments: list[Segment]) -> Step:
    """The work of a pass, as step-time models count it."""
    decode = [s for s in segments if s.rows == 1]
    prefill = [s for s in segments if s.rows > 1]
    return Step(
        decode_requests=sum(s.sequences for s in decode),
        decode_kv_tokens=sum(s.sequences * s.length for s in decode),
        prefill_tokens=sum(s.sequences * s.rows for s in prefill),
        prefill_attention=sum(s.sequences * s.rows * (s.length - s.rows / 2) for s in prefill),
        prefill_requests=sum(s.sequences for s in prefill),
    )


def all_cases(pool_tokens: int, quick: bool = False) -> list[Case]:
    """Kind and segments of every pass that the pool can hold."""
    cases = [*_decode(), *_prefill(), *_mixed()]
    fitting = [c for c in cases if sum(s.sequences * s.length for s in c[1]) <= pool_tokens]
    return fitting[::7] if quick else fitting


def _decode() -> list[Case]:
    sizes, lengths = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256), (256, 512, 1024, 2048, 4096)
    return [("decode", [Segment(size, 1, length)]) for size, length in product(sizes, lengths)]


def _prefill() -> list[Case]:
    chunks, prefixes = (64, 128, 256, 512, 1024, 2048, 4096, 8192), (0, 1024, 4096, 16_384)
    alone = [
        ("prefill", [Segment(1, chunk, chunk + prefix)])
        for chunk, prefix in product(chunks, prefixes)
    ]
    several = [
        ("prefill", [Segment(count, chunk, chunk + prefix)])
        for (count, chunk), prefix in product(
            ((4, 64), (16, 64), (4, 256), (16, 256), (4, 1024), (8, 1024)), (0, 1024)
        )
    ]
    return [*alone, *several]


def _mixed() -> list[Case]:
    """A chunk of a prompt that no other of the pool's tokens belong to, and what decodes."""
    return [
        ("mixed", [Segment(1, chunk, chunk), Segment(size, 1, length, at=chunk)])
        for chunk, size, length in product((128, 512, 1024, 2048, 8192), (16, 64, 128), (512, 2048))
    ]
