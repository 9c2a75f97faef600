"""The batched kernel: N x m x dtype x level x layout x threads, each shape in one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from sagesched.bench.floor import floor_way
from sagesched.bench.numpy_index import numpy_ways
from sagesched.bench.on_device import cuda_way, device_is_there
from sagesched.bench.others import numba_way, python_way
from sagesched.bench.requests import LAYOUTS, Requests, make_requests
from sagesched.bench.timing import Sample, interleave, say
from sagesched.bench.verify import check_all
from sagesched.gittins import gittins_index, set_simd_level

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAIN = (1024, 128)
WIDE = (16_384, 64)
MOST_FOR_PYTHON = 1024 * 128


@dataclass(frozen=True)
class Shape:
    """What is timed in one run: a batch, and the levels, layouts and threads it is computed on."""

    n: int
    m: int
    dtype: str = "float32"
    levels: tuple[str, ...] = ()
    layouts: tuple[str, ...] = ("column-major",)
    threads: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class CaseRow:
    """One case; times of a whole call from Python, nanoseconds."""

    n: int
    m: int
    dtype: str
    level: str
    layout: str
    threads: int
    sample: Sample
    numpy_ns: float
    numpy_way: str
    floor_ns: float | None = None  # a sum over the same bytes on the same level, one thread

    @property
    def ns_per_request(self) -> float:
        return self.sample.median / self.n

    @property
    def speedup_vs_numpy(self) -> float:
        return self.numpy_ns / self.sample.median

    @property
    def fraction_of_read_bandwidth(self) -> float | None:
        return None if self.floor_ns is None else self.floor_ns / self.sample.median


@dataclass(frozen=True)
class OtherRow:
    """Plain Python (lists by row) or Numba (by column) on a shape, nanoseconds a call."""

    name: str
    n: int
    m: int
    dtype: str
    ns: float


def default_shapes(quick: bool, levels: tuple[str, ...]) -> list[Shape]:
    """Every dimension is varied around the main case; all combinations would take an hour."""
    best = levels[-1:]
    main = Shape(*MAIN, levels=levels, layouts=LAYOUTS)
    wide = Shape(*WIDE, levels=levels)
    if quick:
        return [main, wide]
    sizes = [Shape(n, 128, levels=levels) for n in (16, 64, 256, 4096, 16_384, 65_536)]
    bins = [Shape(1024, m, levels=best, layouts=LAYOUTS) for m in (16, 32, 64, 256, 512)]
    double = Shape(*MAIN, dtype="float64", levels=levels, layouts=LAYOUTS)
    threads = Shape(65_536, 64, levels=best, threads=(1, 2, 4))
    return [main, wide, double, *sizes, *bins, threads]


def bench_shape(shape: Shape, seconds: float) -> tuple[list[CaseRow], list[OtherRow]]:
    """Verify every contender against the reference, then time all of them in turn.

    Raises:
        WrongResultError: a contender is wrong.
    """
    say(f"index: {shape.n} x {shape.m} {shape.dtype}")
    requests = make_requests(shape.n, shape.m, shape.dtype)
    cases: dict[tuple[str, str, int], Callable[[], Any]] = {
        (level, layout, threads): _kernel(requests, level, layout, threads)
        for level, layout, threads in product(shape.levels, shape.layouts, shape.threads)
    }
    if "column-major" in shape.layouts and device_is_there():
        cases["cuda", "column-major", 1] = cuda_way(requests)
    layouts = dict.fromkeys(_numpy_layout(layout) for layout in shape.layouts)
    numpy = {
        (layout, way): call
        for layout in layouts
        for way, call in numpy_ways(requests, layout).items()
    }
    others = _others(requests)
    named: dict[str, Callable[[], NDArray[Any]]] = {
        **{f"{level}, {layout}, {t} threads": c for (level, layout, t), c in cases.items()},
        **{f"NumPy, {layout}, {way}": call for (layout, way), call in numpy.items()},
        **others,
    }
    check_all(requests, named)
    floors: dict[str, Callable[[], Any]] = {
        f"floor, {level}, {layout}": floor_way(requests, level, layout)
        for level, layout in product(shape.levels, shape.layouts)
    }
    samples = interleave({**named, **floors}, seconds * (len(named) + len(floors)))
    best = {
        layout: min(
            (samples[f"NumPy, {layout}, {way}"].median, way) for at, way in numpy if at == layout
        )
        for layout in layouts
    }
    rows = [
        CaseRow(
            shape.n, shape.m, shape.dtype, level, layout, threads,
            samples[f"{level}, {layout}, {threads} threads"], *best[_numpy_layout(layout)],
            samples[name].median if (name := f"floor, {level}, {layout}") in floors else None,
        )
        for level, layout, threads in cases
    ]  # fmt: skip
    return rows, [
        OtherRow(name, shape.n, shape.m, shape.dtype, samples[name].median) for name in others
    ]


def _numpy_layout(layout: str) -> str:
    return "row-major" if layout == "row-major" else "column-major"


def _kernel(
    requests: Requests, level: str, layout: str, threads: int
) -> Callable[[], NDArray[Any]]:
    arguments = requests.arguments(layout)

    def run() -> NDArray[Any]:
        set_simd_level(level)
        index: NDArray[Any] = gittins_index(*arguments, threads=threads)
        return index

    return run


def _others(requests: Requests) -> dict[str, Callable[[], NDArray[Any]]]:
    found: dict[str, Callable[[], NDArray[Any]]] = {}
    if requests.pmf.size <= MOST_FOR_PYTHON:
        found["plain Python"] = python_way(requests)
    if numba := numba_way(requests):
        found["Numba"] = numba
    return found
