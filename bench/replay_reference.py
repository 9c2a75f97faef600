"""Reproduce the figures that the design was decided on, with the replay of today.

    python -m bench.replay_reference      5 to 10 minutes on one core; prints Markdown

The reference figures were measured once with a throw-away harness around the same scheduler and the
same random traces (``generators.py`` draws the same numbers): Llama-3.1-8B on an H100, 60k-token pool,
64 running, mixed prefill, ``hetero``, 2,000 requests, the policies knowing each cluster's law, the
first tenth of the requests not counted.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from sagesched.replay.engine import EngineConfig
from sagesched.replay.harness import Harness
from sagesched.replay.predictors import make_predictions
from sagesched.replay.presets import preset
from sagesched.replay.result import RunResult
from sagesched.replay.workloads import make_workload

REQUESTS, WARM_UP = 2_000, 0.1
SATURATION_SEED = 7
ENGINE = EngineConfig(pool_tokens=60_000, max_running=64, mixed=True)


@dataclass(frozen=True)
class Reference:
    """A figure to reproduce: seconds."""

    policy: str
    load: float
    seed: int
    mean_ttlt_s: float
    p99_ttlt_s: float


def _rows(policy: str, *figures: tuple[float, float]) -> list[Reference]:
    cells = [(1.0, 101), (1.0, 102), (1.1, 101), (1.1, 102)]
    return [Reference(policy, *c, *f) for c, f in zip(cells, figures, strict=True)]


REFERENCES = [
    *_rows("fcfs", (3.60, 20.7), (2.79, 20.2), (7.50, 25.7), (6.25, 24.1)),
    *_rows("mean", (2.80, 21.4), (2.62, 20.3), (3.55, 33.5), (3.39, 28.2)),
    *_rows("gittins-age0", (2.88, 20.9), (2.56, 20.0), (3.68, 28.9), (3.72, 44.7)),
    *_rows("oracle-sjf", (2.76, 22.7), (2.53, 20.3), (3.37, 33.1), (3.10, 31.4)),
    *_rows("gittins-soft", (2.70, 24.1), (2.54, 23.0), (3.33, 43.4), (3.15, 40.9)),
]


def saturation(result: RunResult) -> float:
    """Requests per second while all of them wait."""
    ends = np.sort(result.last_s)
    low, high = int(0.1 * len(ends)), int(0.75 * len(ends))
    return float((high - low) / (ends[high] - ends[low]))


def main() -> int:
    """Run all rows; 1 if a mean is more than 5 % off."""
    harness, step_time = Harness(ENGINE), preset("llama-3.1-8b", "h100")
    workload = make_workload("hetero", n=REQUESTS)

    def replay(policy: str, seed: int, rate: float | None) -> RunResult:
        return harness.run(
            workload.requests(seed=seed, rate_rps=rate),
            policy=policy,
            step_time=step_time,
            predictions=make_predictions("law", workload, harness.grid),
            max_output_tokens=workload.max_output_tokens,
        )

    limit = saturation(replay("fcfs", SATURATION_SEED, None))
    print(f"saturation {limit:.2f} requests/s\n")
    print("| policy | load | seed | mean TTLT | reference | ratio | P99 | reference | ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    worst = 0.0
    for row in REFERENCES:
        ttlt = replay(row.policy, row.seed, row.load * limit).ttlt_s[int(WARM_UP * REQUESTS) :]
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
    sys.exit(main())
