"""A policy and hand-made requests, without a scheduler."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.replay.policies.base import Known, Policy, Situation
from sagesched.replay.policies.registry import policy_class

GRID = LengthGrid(2048)
OURS = [
    "prompt-only",
    "mean",
    "ssjf",
    "ltr",
    "trail",
    "trail-c0",
    "fastserve",
    "sagesched-paper",
    "sagesched-paper-25GB",
    "tie",
    "uniboost",
    "oracle-sjf",
    "oracle-srpt",
    "oracle-srpt-soft",
    "svf",
    "gittins-age0",
    "gittins-soft",
]


def law(chances: dict[int, float]) -> LengthDistribution:
    """Mass on edges of the grid."""
    pmf = np.zeros(len(GRID))
    for tokens, mass in chances.items():
        assert tokens in GRID.edges
        pmf[GRID.bin_of(tokens)] = mass
    return LengthDistribution(GRID, pmf)


class Bench:
    """A policy and hand-made requests, in order of arrival."""

    def __init__(self, name: str, slots: int = 4, pool: int = 1000, **values: float) -> None:
        self.situation = Situation(slots, pool, step_s=0.01)
        self.policy: Policy = policy_class(name)(self.situation, values)
        self.arrived = 0

    def request(self, name, *, prompt=10, age=0, cached=0, at=0.0, truth=0, chances=None):
        predicted = law(chances) if chances else None
        known = Known(self.arrived, at, predicted, truth, cluster="")
        self.situation.enter(name, known)
        self.arrived += 1
        made = SimpleNamespace(
            rid=name,
            origin_input_ids=[1] * prompt,
            output_ids=[2] * age,
            num_matched_prefix_tokens=cached,
        )
        self.situation.cached_prefix = lambda request: request.num_matched_prefix_tokens
        self.policy.entered(made)
        return made

    def order(self, *waiting) -> str:
        queue = list(waiting)
        self.policy.order(queue)
        return " ".join(request.rid for request in queue)

    def victims(self, running, waiting) -> str:
        return " ".join(request.rid for request in self.policy.victims(running, waiting))


def grow(request, tokens: int) -> None:
    request.output_ids = [2] * tokens
