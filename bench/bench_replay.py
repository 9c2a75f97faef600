"""The standing comparison: every policy on every workload, engine, load and seed, by replay.

    python -m bench.bench_replay --quick           10 minutes on 2 cores: 1 seed, 1,000 requests
    python -m bench.bench_replay --budget-min 30   goes on where it was stopped

Writes ``bench/results/replay.md`` and ``replay.json``. Finished runs are kept in a file, a line
each, under everything that decides them (settings, digest of the sources, SGLang's version), so
that the command can be repeated until nothing is missing. The most informative runs come first
(``bench/replay/cells.py``); the report says what the budget did not reach. The exit status is 1 if
a run failed one of the checks in ``bench/replay/checked.py``.

Recorded traces are read from ``../shared/data``; their workloads are left out, with a note, where
it is absent.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.replay import cells, report
from bench.replay.machine import REPOSITORY, origin
from bench.replay.runs import Comparison, compare
from bench.replay.store import Store
from sagesched.replay.backend import Backend, RealBackend
from sagesched.replay.progress import Progress

FULL = {"budget_min": 30.0, "n": 2000, "seeds": 5}
QUICK = {"budget_min": 9.5, "n": 1000, "seeds": 1}
QUICK_DELAY = 0.5
"""Cells with a longer delay are no part of --quick."""

SEED_BASE = 200


def parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.bench_replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="a part of it, in 10 minutes")
    add("--budget-min", type=float, help="minutes, default 30; 9.5 with --quick")
    add("--n", type=int, help="requests a run, default 2000; 1000 with --quick")
    add("--seeds", type=int, help="number of seeds, default 5; 1 with --quick")
    add("--seed-base", type=int, default=SEED_BASE, help="the first one, default %(default)s")
    add("--jobs", type=int, default=2, help="parallel processes, default %(default)s")
    add("--policies", help="comma-separated; default: all that are compared")
    add("--workloads", help="comma-separated; default: all")
    add("--data", type=Path, default=REPOSITORY.parent / "shared" / "data", help="recorded traces")
    add("--store", type=Path, default=REPOSITORY / "build" / "bench_replay.jsonl")
    add("--out", type=Path, default=REPOSITORY / "bench" / "results", help="folder for the report")
    return parser


def main(arguments: Sequence[str] | None = None, backend: Backend | None = None) -> int:
    """Run the comparison and write its report; the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(given)
    backend = backend or RealBackend()
    progress = Progress()
    start = time.monotonic()
    try:
        comparison, skipped = prepare(options, backend)
    except (ValueError, OSError, RuntimeError) as error:
        progress.say(str(error))
        return 2
    budget_s = 60 * _value(options, "budget_min")
    try:
        compare(comparison, backend, budget_s=budget_s, jobs=options.jobs, progress=progress)
    except KeyboardInterrupt:
        progress.say("stopped; what has ended is in the report")
    settings = {name: _value(options, name) for name in FULL}
    command = " ".join(["python -m bench.bench_replay", *given])
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "replay.md").write_text(report.as_markdown(comparison, command, skipped))
    (options.out / "replay.json").write_text(report.as_json(comparison, settings))
    progress.say(f"{(time.monotonic() - start) / 60:.1f} minutes; {options.out / 'replay.md'}")
    return int(bool(comparison.failures))


def prepare(options: argparse.Namespace, backend: Backend) -> tuple[Comparison, list[str]]:
    """What is to be compared, and lines on what is left out.

    Raises:
        ValueError: an unknown policy or workload, or a number that makes no sense.
        RuntimeError: SGLang is missing.
    """
    n, seeds = int(_value(options, "n")), int(_value(options, "seeds"))
    for name, value in (("--n", n), ("--seeds", seeds), ("--jobs", options.jobs)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1")
    policies = _chosen(
        "--policies", options.policies, list(backend.policies()),
        (*cells.POLICIES, *cells.MORE_POLICIES),
    )  # fmt: skip
    names = tuple(dict.fromkeys(cell.workload for cell in cells.CELLS))
    workloads = _chosen("--workloads", options.workloads, names, names)
    most_delay = QUICK_DELAY if options.quick else float("inf")
    chosen = [c for c in cells.CELLS if c.workload in workloads and c.delay <= most_delay]
    skipped = [
        f"{cell}: left out, no {', '.join(missing)} in the folder of recorded traces (--data)"
        for cell in chosen
        if (missing := cell.missing_files(options.data))
    ]
    there = tuple(cell for cell in chosen if not cell.missing_files(options.data))
    if not there:
        raise ValueError("nothing to compare: " + "; ".join(skipped))
    planned = cells.plan(
        there, policies, tuple(range(options.seed_base, options.seed_base + seeds))
    )
    made = origin(backend.versions()["sglang"], backend.policies())
    return Comparison(planned, n, options.data, made, Store(options.store)), skipped


def _value(options: argparse.Namespace, name: str) -> float:
    given = getattr(options, name)
    return float((QUICK if options.quick else FULL)[name] if given is None else given)


def _chosen(
    flag: str, given: str | None, known: Sequence[str], default: tuple[str, ...]
) -> tuple[str, ...]:
    if given is None:
        return default
    names = tuple(name.strip() for name in given.split(",") if name.strip())
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{flag}: unknown {', '.join(unknown)}; known: {', '.join(known)}")
    if not names:
        raise ValueError(f"{flag}: nothing given")
    return names


if __name__ == "__main__":
    sys.exit(main())
