"""Reproduce the figures that the design was decided on, with the replay of today.

    python -m bench.replay_reference {hetero|cluster}      prints Markdown, some 10 minutes

The reference figures were measured once with a throw-away harness around the same scheduler and the
same random traces (``generators.py`` draws the same numbers): Llama-3.1-8B on an H100, 60k-token
pool, 64 running, the policies knowing each cluster's law, the first tenth of the requests not
counted. Loads are relative to the saturation of the trace of seed 7, all of it at once.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from sagesched.replay.engine import EngineConfig
from sagesched.replay.harness import Harness
from sagesched.replay.predictors import make_predictions
from sagesched.replay.result import RunResult
from sagesched.replay.steptime import Step
from sagesched.replay.workloads import make_workload

WARM_UP = 0.1
SATURATION_SEED = 7


@dataclass(frozen=True)
class Reference:
    """A figure to reproduce: seconds."""

    policy: str
    load: float
    seed: int
    mean_ttlt_s: float
    p99_ttlt_s: float


@dataclass(frozen=True)
class Table:
    """Figures of one setting."""

    requests: int
    mixed: bool
    rows: tuple[Reference, ...]


class StepTimeThen:
    """Of Llama-3.1-8B on an H100, as the figures were measured with it; presets have changed."""

    name = "llama-3.1-8b on h100, as assumed then"

    def seconds(self, step: Step) -> float:
        """1 ms, and the slower of 3.0e12 bytes and 6e14 (prefill 4e14) operations a second."""
        operations = 16e9 * (step.prefill_tokens + step.decode_requests)
        rate = 6e14
        if step.prefill_tokens:
            operations += 4 * 32 * 4096 * (step.prefill_attention + step.decode_kv_tokens)
            rate = 4e14
        read = (16e9 + 131_072 * step.decode_kv_tokens) / 3.0e12
        return 1e-3 + max(read, operations / rate) + 131_072 * step.moved_kv_tokens / 25e9


def _rows(policy: str, *figures: tuple[float, float]) -> list[Reference]:
    cells = [(1.0, 101), (1.0, 102), (1.1, 101), (1.1, 102)]
    return [Reference(policy, *c, *f) for c, f in zip(cells, figures, strict=True)]


TABLES = {
    "hetero": Table(
        requests=3_000,
        mixed=True,
        rows=(
            *_rows("fcfs", (3.60, 20.7), (2.79, 20.2), (7.50, 25.7), (6.25, 24.1)),
            *_rows("mean", (2.80, 21.4), (2.62, 20.3), (3.55, 33.5), (3.39, 28.2)),
            *_rows("gittins-age0", (2.88, 20.9), (2.56, 20.0), (3.68, 28.9), (3.72, 44.7)),
            *_rows("oracle-sjf", (2.76, 22.7), (2.53, 20.3), (3.37, 33.1), (3.10, 31.4)),
            *_rows("gittins-soft", (2.70, 24.1), (2.54, 23.0), (3.33, 43.4), (3.15, 40.9)),
        ),
    ),
    "cluster": Table(
        requests=4_000,
        mixed=False,
        rows=(
            Reference("fcfs", 1.1, 100, 12.9, 32.6),
            Reference("lpm", 1.1, 100, 12.9, 32.6),
            Reference("mean", 1.1, 100, 6.16, 110),
            Reference("gittins-age0", 1.1, 100, 6.12, 110),
            Reference("oracle-sjf", 1.1, 100, 4.81, 62),
            Reference("gittins-soft", 1.1, 100, 8.83, 147),
        ),
    ),
}


def saturation(result: RunResult) -> float:
    """Requests per second while all of them wait."""
    ends = np.sort(result.last_s)
    low, high = int(0.1 * len(ends)), int(0.75 * len(ends))
    return float((high - low) / (ends[high] - ends[low]))


def main(name: str) -> int:
    """Run a table's rows; 1 if a mean is more than 5 % off."""
    table = TABLES[name]
    harness = Harness(EngineConfig(pool_tokens=60_000, max_running=64, mixed=table.mixed))
    workload, step_time = make_workload(name, n=table.requests), StepTimeThen()

    def replay(policy: str, seed: int, rate: float | None) -> RunResult:
        return harness.run(
            workload.requests(seed=seed, rate_rps=rate),
            policy=policy,
            step_time=step_time,
            predictions=make_predictions("law", workload, harness.grid),
            max_output_tokens=workload.max_output_tokens,
        )

    limit = saturation(replay("fcfs", SATURATION_SEED, None))
    print(f"## {name}: {table.requests} requests, saturation {limit:.2f} requests/s\n")
    print("| policy | load | seed | mean TTLT | reference | ratio | P99 | reference | ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    worst = 0.0
    for row in table.rows:
        result = replay(row.policy, row.seed, row.load * limit)
        ttlt = result.ttlt_s[int(WARM_UP * table.requests) :]
        mean, p99 = float(ttlt.mean()), float(np.percentile(ttlt, 99))
        ratio = mean / row.mean_ttlt_s
        worst = max(worst, abs(ratio - 1.0))
        print(
            f"| {row.policy} | {row.load} | {row.seed} | {mean:.2f} | {row.mean_ttlt_s:.2f} | "
            f"{ratio:.3f} | {p99:.1f} | {row.p99_ttlt_s:.1f} | {p99 / row.p99_ttlt_s:.3f} |",
            flush=True,
        )
    print(f"\nlargest difference of a mean: {worst:.1%}")
    return int(worst > 0.05)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in TABLES:
        sys.exit(f"usage: python -m bench.replay_reference {{{'|'.join(TABLES)}}}")
    sys.exit(main(sys.argv[1]))
