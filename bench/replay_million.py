"""A very long trace through the replay: its memory must not grow with the trace's length.

    python -m bench.replay_million                    a million requests, written to a file first
    python -m bench.replay_million --requests 50000 --budget-min 2

The trace is a file in our own format, read while the virtual clock goes on, under fcfs at 64
running. Its requests are short (8 to 16 prompt tokens, 1 to 4 output tokens), so that the run ends
in minutes: what is shown is the memory, not the speed on traffic such as yours. Where the budget is
spent first the trace ends there, and the figures say so.

Writes ``bench/results/replay_million.md``: resident memory of the process after a tenth, a half and
all of the requests, and how many bytes a request costs beyond the first tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.replay.machine import REPOSITORY, Origin, origin
from sagesched.replay.backend import RealBackend, StepTimeSpec
from sagesched.replay.clock import REAL_PERF_COUNTER
from sagesched.replay.engine import EngineConfig
from sagesched.replay.result import RunResult
from sagesched.replay.trace import TraceRequest

ENGINE = EngineConfig(pool_tokens=60_000, max_running=64, mixed=True)
STEP_TIME = StepTimeSpec("llama-3.1-8b", "h100")
RATE_RPS = 1_500.0
"""Of the trace; below what the engine can do, else the queue would grow with the trace."""

MARKS = (0.01, 0.1, 0.25, 0.5, 0.75, 1.0)
RESULT_BYTES = 80
"""Of a request that has ended: ten numbers."""

MOST_BYTES_A_REQUEST = 300
"""After the first tenth; above, something else than the result is kept."""


@dataclass(frozen=True)
class Mark:
    """How it stands after so many requests.

    Attributes:
        requests: arrived so far.
        seconds: real seconds since the first one.
        cpu_s: processor seconds since then.
        resident_mib, peak_mib: memory of the process.
    """

    requests: int
    seconds: float
    cpu_s: float
    resident_mib: float
    peak_mib: float


def write_trace(file: Path, requests: int) -> None:
    """A trace in our own format: Poisson arrivals, short prompts and outputs."""
    draws = random.Random(0)
    at = 0.0
    with file.open("w") as lines:
        for _ in range(requests):
            at += draws.expovariate(RATE_RPS)
            request = {
                "arrival_s": round(at, 6),
                "prompt_tokens": draws.randint(8, 16),
                "output_tokens": draws.randint(1, 4),
            }
            lines.write(json.dumps(request) + "\n")


class Watch:
    """Passes requests on and notes time and memory at the marks, until the budget is spent."""

    def __init__(self, expected: int, budget_s: float) -> None:
        self._at = {max(1, int(share * expected)) for share in MARKS}
        self._budget_s = budget_s
        self._start, self._cpu_start = REAL_PERF_COUNTER(), time.process_time()
        self.marks: list[Mark] = []

    def through(self, requests: Iterator[TraceRequest]) -> Iterator[TraceRequest]:
        """The requests."""
        number = 0
        for number, request in enumerate(requests, 1):
            yield request
            seconds = REAL_PERF_COUNTER() - self._start
            if number in self._at:
                self.note(number, seconds)
            if seconds > self._budget_s:
                break
        if number and number not in self._at:
            self.note(number, REAL_PERF_COUNTER() - self._start)

    def note(self, number: int, seconds: float) -> None:
        """A mark."""
        status = Path("/proc/self/status").read_text()
        sizes = {
            line.split(":")[0]: line.split()[1] for line in status.splitlines() if "kB" in line
        }
        resident, peak = (int(sizes[name]) / 1024 for name in ("VmRSS", "VmHWM"))
        cpu_s = time.process_time() - self._cpu_start
        self.marks.append(Mark(number, seconds, cpu_s, resident, peak))
        print(f"{number:,} requests, {seconds:.0f} s, {resident:.0f} MiB", flush=True)


def run(file: Path, requests: int, budget_s: float) -> tuple[RunResult, list[Mark]]:
    """Replay the trace in this process."""
    backend = RealBackend()
    from sagesched.replay.workloads import make_workload

    workload = make_workload(file)
    harness = backend.harness(ENGINE)
    watch = Watch(requests, budget_s)
    result = harness.run(
        watch.through(workload.requests(seed=0, rate_rps=workload.recorded_rate_rps)),
        policy="fcfs",
        step_time=backend.step_time(STEP_TIME),
        predictions=None,
        settings=None,
        max_output_tokens=workload.max_output_tokens,
    )
    return result, watch.marks


def growth(marks: list[Mark]) -> float:
    """Bytes of resident memory for each request after the first tenth."""
    first = next(mark for mark in marks if mark.requests >= 0.1 * marks[-1].requests)
    last = marks[-1]
    if last.requests == first.requests:
        return 0.0
    return (last.resident_mib - first.resident_mib) * 2**20 / (last.requests - first.requests)


def report(made: Origin, result: RunResult, marks: list[Mark], asked: int) -> str:
    """Markdown."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    exact = bool((result.output_tokens == result.true_tokens).all())
    served, end = len(result.last_s), marks[-1]
    how_many = f"{served:,} of {asked:,} requests served"
    if served < asked:
        how_many += ": the budget was spent, the rest was not replayed"
    rows = "\n".join(
        f"| {m.requests:,} | {m.seconds:.0f} | {m.resident_mib:.0f} | {m.peak_mib:.0f} |"
        for m in marks
    )
    return f"""# Replay: a trace of a million requests

`python -m bench.replay_million` at commit {made.commit} (sources {made.codes["fcfs"]}), SGLang
{made.sglang}, {made.hardware}; load average of the machine at the end: {load}.

fcfs, {ENGINE.pool_tokens:,} pool tokens, {ENGINE.max_running} running, mixed prefill; prompts of 8
to 16 tokens, outputs of 1 to 4, streamed from a file in our own format.

- {how_many}
- every output exactly as long as it must be: {"yes" if exact else "NO"}
- {served / end.seconds * 60:,.0f} requests a minute; {served / end.cpu_s * 60:,.0f} in a minute
  of processor time; {result.steps:,} steps; at most {result.timeline.waiting.max()}
  requests waiting
- {end.peak_mib:.0f} MiB at the most, SGLang itself included

| requests so far | real seconds | resident MiB | peak MiB |
|---:|---:|---:|---:|
{rows}

After the first tenth memory grows by {growth(marks):.0f} bytes a request; the times and counts of
each, which become the result, are about {RESULT_BYTES}.
"""


def main() -> int:
    """Write the trace, replay it, write the report; 1 if memory grows or an output is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--budget-min", type=float, default=12.0)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "bench" / "results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "million.jsonl"
        write_trace(file, options.requests)
        backend = RealBackend()
        made = origin(backend.versions()["sglang"], backend.policies())
        result, marks = run(file, options.requests, 60 * options.budget_min)
    text = report(made, result, marks, options.requests)
    (options.out / "replay_million.md").write_text(text)
    wrong = bool((result.output_tokens != result.true_tokens).any())
    return int(wrong or growth(marks) > MOST_BYTES_A_REQUEST)


if __name__ == "__main__":
    sys.exit(main())
