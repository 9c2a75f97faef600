"""How fast a replay is: requests a minute on one core, fcfs, 64 running.

    PYTHONPATH=. python -m bench.replay_speed       prints Markdown, some 3 minutes

Each trace is replayed twice in turn, by the short cut through uneventful decode steps and by
SGLang's own loop over results; the two must give the same digest before their times count. A
request costs what its output tokens cost, so that the table says how many there were.
"""

from __future__ import annotations

import sys
import time
from statistics import mean

from bench.replay.machine import origin
from sagesched.replay.backend import RealBackend, StepTimeSpec, WorkloadSpec
from sagesched.replay.engine import EngineConfig
from sagesched.replay.harness import Harness
from sagesched.replay.result import RunResult
from sagesched.replay.steptime import StepTime
from sagesched.replay.trace import TraceRequest

ENGINE = EngineConfig(pool_tokens=60_000, max_running=64)
REQUESTS = 2000
RATES_RPS = {"lognormal": 20.0, "cluster": 24.7, "hetero": 26.8}
"""About 0.95 of what fcfs saturates at."""

SHORTER = 150
"""Outputs of the last row are cut to so many tokens."""

SEEDS = (2, 3)


def timed(
    harness: Harness, trace: list[TraceRequest], step_time: StepTime, limit: int, short_cut: bool
) -> tuple[RunResult, float]:
    """The result, and the CPU seconds it took."""
    start = time.process_time()
    result = harness.run(
        iter(trace), policy="fcfs", step_time=step_time, max_output_tokens=limit,
        short_cut=short_cut,
    )  # fmt: skip
    return result, time.process_time() - start


def main() -> int:
    """Print the table; 1 if a short cut changed a result."""
    backend = RealBackend()
    harness = Harness(ENGINE)
    step_time = backend.step_time(StepTimeSpec("llama-3.1-8b", "h100"))
    made = origin(backend.versions()["sglang"], backend.policies())
    print(f"commit {made.commit}, SGLang {made.sglang}, {made.hardware}; {REQUESTS} requests\n")
    print("| workload | output tokens a request | requests/min | output tokens/min | "
          "with SGLang's own result loop |\n|---|---|---|---|---|")  # fmt: skip
    rows = [(name, rate, 2048) for name, rate in RATES_RPS.items()]
    for name, rate, limit in [*rows, ("cluster", 2 * RATES_RPS["cluster"], SHORTER)]:
        workload = backend.workload(WorkloadSpec(name, False, REQUESTS))
        seconds: dict[bool, list[float]] = {True: [], False: []}
        tokens = 0
        for seed in (SEEDS[0] - 1, *SEEDS):
            trace = list(workload.requests(seed=seed, rate_rps=rate))
            found = {way: timed(harness, trace, step_time, limit, way) for way in (False, True)}
            if found[True][0].digest != found[False][0].digest:
                print(f"{name}, seed {seed}: the short cut changed the result", file=sys.stderr)
                return 1
            if seed in SEEDS:  # the first one warms up
                tokens += int(found[True][0].output_tokens.sum())
                for way, (_, took) in found.items():
                    seconds[way].append(took)
        per_minute = {way: 60 * REQUESTS / mean(took) for way, took in seconds.items()}
        each = tokens / len(SEEDS) / REQUESTS
        cut = f", cut to {limit}" if limit == SHORTER else ""
        quick, full = per_minute[True], per_minute[False]
        millions = quick * each / 1e6
        print(f"| {name}{cut} | {each:.0f} | {quick:,.0f} | {millions:.1f} million | {full:,.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
