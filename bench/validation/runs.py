"""What is run: the same policies, loads and arrival times on the server and in replay."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench.demo.arrivals import poisson_arrivals
from bench.demo.workload import Workload, built_in

POLICIES = ("fcfs", "lpm", "gittins")
HEAVY = 1.1


@dataclass(frozen=True)
class Scenario:
    """A load on a sample of requests and arrivals.

    Attributes:
        load: arrival rate over the measured fcfs saturation; None: all requests at once.
        seed: of the sample.
    """

    load: float | None
    seed: int

    @property
    def title(self) -> str:
        """For tables."""
        return "at once" if self.load is None else f"load {self.load:g}"


SCENARIOS = (
    Scenario(None, 0),
    Scenario(0.8, 0),
    Scenario(HEAVY, 0),
    Scenario(HEAVY, 1),
    Scenario(HEAVY, 2),
)
"""Above saturation one sample says little: a request's luck early on decides about many."""


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
        requests: per run.
        saturation_rps: measured under fcfs with the first scenario's sample; other samples have
            other mean lengths.
        runs: by ``key(policy, scenario)``; grows.
    """

    requests: int
    saturation_rps: float
    runs: dict[str, Times]

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Real:
        """Read what ``save`` wrote."""
        values = json.loads(path.read_text())
        runs = {name: Times(**run) for name, run in values.pop("runs").items()}
        return cls(runs=runs, **values)


def key(policy: str, scenario: Scenario) -> str:
    """Name of a run."""
    return f"{policy} {scenario.title} {scenario.seed}"


def workload_of(scenario: Scenario, requests: int) -> Workload:
    """The demo's workload; nothing is learned beforehand."""
    return built_in(seed=scenario.seed, learn=0, requests=requests)


def arrivals_of(scenario: Scenario, requests: int, saturation_rps: float) -> list[float]:
    """Seconds; the same for the server and the replay."""
    if scenario.load is None:
        return [0.0] * requests
    first, this = (
        workload_of(each, requests).mean_output_tokens for each in (SCENARIOS[0], scenario)
    )
    rate = scenario.load * saturation_rps * first / this
    return poisson_arrivals(seed=scenario.seed, requests=requests, rate_rps=rate)
