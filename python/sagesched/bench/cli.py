"""``sagesched bench index``: verify the core, time it, compare."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sagesched._version import __version__
from sagesched.bench import cases, curve, rank, report
from sagesched.bench.floor import bench_floor
from sagesched.bench.machine import hardware
from sagesched.bench.requests import LAYOUTS
from sagesched.bench.result import Result, as_json
from sagesched.bench.verify import WrongResultError
from sagesched.gittins import set_simd_level, simd_level, simd_levels

DTYPES = ("float32", "float64")
MOST_MASSES = 2**26


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``sagesched bench index``."""
    parser.add_argument("--quick", action="store_true", help="fewer cases, half a minute")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="write the tables")
    parser.add_argument(
        "--plot", metavar="FILE", type=Path, help="plot cost against N (needs Matplotlib)"
    )
    only = parser.add_argument_group(
        "one shape only", "any of these times just this batch, without curve and rank engine"
    )
    only.add_argument("--n", type=_up_to(1_000_000), help="requests (1024)")
    only.add_argument("--m", type=_up_to(4096), help="length bins (128)")
    only.add_argument("--dtype", choices=DTYPES, help="of the masses (float32)")
    only.add_argument("--level", choices=simd_levels(), help="instruction set (all)")
    only.add_argument("--layout", choices=LAYOUTS, help="of the masses (all)")
    only.add_argument("--threads", type=_up_to(1024), help="threads of a call (1)")


def run(options: argparse.Namespace, commit: str = "") -> int:
    """Print the tables; 1 where a result is wrong or a file cannot be written."""
    about = {"sagesched": __version__, "commit": commit, "on": hardware(), "NumPy": np.__version__}
    result = Result({key: value for key, value in about.items() if value})
    try:
        before = simd_level()
        _check_outputs(options)  # now, and not after minutes
        try:
            _time(options, result)
        finally:
            set_simd_level(before)
        _write(options, result)
    except (WrongResultError, OSError, RuntimeError, ValueError) as error:
        print(f"sagesched bench index: error: {error}", file=sys.stderr)
        return 1
    with contextlib.suppress(BrokenPipeError):  # a reader that has seen enough
        print(report.markdown(result), end="", flush=True)
    return 0


def _check_outputs(options: argparse.Namespace) -> None:
    if options.plot:
        report.require_matplotlib()
    for file in filter(None, (options.json, options.markdown, options.plot)):
        file.open("a").close()


def _levels() -> list[str]:
    """All that the machine has, or the one that SAGESCHED_SIMD insists on."""
    best, active = simd_levels()[-1], simd_level()
    return simd_levels() if active == best else [active]


def _time(options: argparse.Namespace, result: Result) -> None:
    shape = _one_shape(options)
    each = 0.3 if options.quick else 0.5
    levels = list(shape.levels) if shape else _levels()
    shapes = [shape] if shape else cases.default_shapes(options.quick, tuple(levels))
    dtypes = sorted({shape.dtype for shape in shapes})
    result.floors = bench_floor(levels, dtypes, each)
    for wanted in shapes:
        rows, others = cases.bench_shape(wanted, each)
        result.cases += rows
        result.others += others
    if shape:
        return
    set_simd_level(levels[-1])
    result.curve = curve.bench_curve(curve.BINS, each)
    result.solver = curve.bench_solver(curve.SOLVER_BINS, each)
    result.rank = rank.bench_rank(rank.WAITING, 5 if options.quick else 30)
    result.refresh = rank.bench_refresh(rank.REFRESHED, each)


def _one_shape(options: argparse.Namespace) -> cases.Shape | None:
    if (options.n or 1024) * (options.m or 128) > MOST_MASSES:
        raise ValueError(f"--n times --m must be at most {MOST_MASSES}: all of it lies in memory")
    given = (options.n, options.m, options.dtype, options.level, options.layout, options.threads)
    if not any(given):
        return None
    return cases.Shape(
        options.n or cases.MAIN[0],
        options.m or cases.MAIN[1],
        options.dtype or DTYPES[0],
        (options.level,) if options.level else tuple(_levels()),
        (options.layout,) if options.layout else LAYOUTS,
        (options.threads or 1,),
    )


def _write(options: argparse.Namespace, result: Result) -> None:
    writers: list[tuple[Path | None, Callable[[Path], Any]]] = [
        (options.json, lambda file: file.write_text(json.dumps(as_json(result), default=vars))),
        (options.markdown, lambda file: file.write_text(report.markdown(result))),
        (options.plot, lambda file: report.plot(result, file)),
    ]
    for file, write in writers:
        if file:
            write(file)


def _up_to(most: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {most}")
        return int(text)

    return count
