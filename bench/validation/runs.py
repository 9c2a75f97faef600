"""What is run: the same policies, loads and arrival times on the server and in replay."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench.demo.arrivals import poisson_arrivals

POLICIES = ("fcfs", "lpm", "gittins")
LOADS = (None, 0.8, 1.1)
"""Of the measured fcfs saturation; None: all requests at once."""


@dataclass(frozen=True)
class Times:
    """TTLT and TTFT of a run's requests, seconds, in order of arrival.

    Attributes:
        step_s: mean decode step by the server's own count; 0 in a replay.
    """

    ttlt: list[float]
    ttft: list[float]
    step_s: float = 0.0

    def figures(self) -> dict[str, float]:
        """What is compared."""
        ttlt = np.array(self.ttlt)
        return {
            "mean_ttlt_s": float(ttlt.mean()),
            "p50_ttlt_s": float(np.percentile(ttlt, 50)),
            "p95_ttlt_s": float(np.percentile(ttlt, 95)),
            "p99_ttlt_s": float(np.percentile(ttlt, 99)),
            "mean_ttft_s": float(np.mean(self.ttft)),
        }


@dataclass(frozen=True)
class Real:
    """What the real server did; kept in a file between runs.

    Attributes:
        saturation_rps: measured under fcfs.
        runs: by ``key(policy, load)``.
    """

    seed: int
    requests: int
    saturation_rps: float
    runs: dict[str, Times]

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Real:
        values = json.loads(path.read_text())
        runs = {name: Times(**run) for name, run in values.pop("runs").items()}
        return cls(runs=runs, **values)


def key(policy: str, load: float | None) -> str:
    return f"{policy} {name_of(load)}"


def name_of(load: float | None) -> str:
    return "at once" if load is None else f"load {load:g}"


def arrivals_of(real: Real, load: float | None) -> list[float]:
    """The same for the server and the replay."""
    if load is None:
        return [0.0] * real.requests
    rate = load * real.saturation_rps
    return poisson_arrivals(seed=real.seed, requests=real.requests, rate_rps=rate)
