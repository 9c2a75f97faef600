"""The floor: how fast a level can read at all, by a sum over the same kind of memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sagesched import _core
from sagesched.bench.requests import Requests
from sagesched.bench.timing import interleave, say
from sagesched.bench.verify import WrongResultError
from sagesched.gittins import set_simd_level

CACHED_BYTES = 4 * 2**20
MEMORY_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Floor:
    """Bytes per nanosecond (GB/s) that a sum on one level and dtype reads."""

    level: str
    dtype: str
    cached: float
    memory: float


def floor_way(requests: Requests, level: str, layout: str) -> Callable[[], float]:
    """A sum over the very matrices that ``gittins_index`` reads in that layout, on that level."""
    matrices = [x for x in requests.arguments(layout)[:2] if x.ndim == 2]
    lines = [x if x.flags.c_contiguous else x.T for x in matrices]

    def run() -> float:
        set_simd_level(level)
        return sum(_core.read_floor(line) for line in lines)

    return run


def bench_floor(levels: list[str], dtypes: list[str], seconds: float) -> list[Floor]:
    """Each sum is verified before it is timed."""
    rows = []
    for dtype in dtypes:
        memory = np.ones(MEMORY_BYTES // np.dtype(dtype).itemsize, dtype)
        cached = memory[: CACHED_BYTES // memory.itemsize].copy()
        for level in levels:
            say(f"floor: {dtype} on {level}")
            set_simd_level(level)
            for values in (cached, memory):
                if (found := _core.read_floor(values)) != len(values):
                    raise WrongResultError(f"read_floor on {level}: {found} of {len(values)} ones")
            low = interleave({"sum": lambda v=cached: _core.read_floor(v)}, seconds)["sum"]  # type: ignore[misc]
            high = interleave({"sum": lambda v=memory: _core.read_floor(v)}, seconds)["sum"]  # type: ignore[misc]
            rows.append(
                Floor(level, dtype, cached.nbytes / low.median, memory.nbytes / high.median)
            )
    return rows
