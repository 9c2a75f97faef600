"""TIE: expected length, inflated by its tail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from sagesched.lengths import LengthDistribution
from sagesched.replay.policies.base import Policy
from sagesched.replay.policies.notes import predicted, remembered


def tail_mean(law: LengthDistribution, level: float) -> float:
    """Mean of the longest ``1 - level`` of outputs, tokens: the conditional value at risk."""
    share = 1.0 - level
    longest_first = np.cumsum(law.pmf[::-1])
    taken = np.diff(np.minimum(longest_first, share), prepend=0.0)
    return float(taken @ law.grid.edges[::-1] / taken.sum())


class Tie(Policy):
    """Waiting requests by ``E[O] + beta * CVaR(O)``, computed once, when they are first seen.

    ``beta = min(0.5, max(0.1, 0.1 * waiting / slots))`` grows with the queue (its equation 12).
    The paper fits a log-t law with 3.5 degrees of freedom per prompt with a DeBERTa; here the law
    is that of ``--predictor``, taken as it is. No preemption. Left open in the paper: requests keep
    the beta of their arrival, however long the queue becomes.

    Settings:
        level: of the tail.
    """

    name = "tie"
    source = "TIE (arXiv 2604.00499, equations 11 and 12); log-t fit replaced by --predictor"
    uses = "distribution"
    settings: ClassVar[Mapping[str, float]] = {"level": 0.9}
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"level": (0.0, 0.999)}

    def order(self, waiting: list[Any]) -> None:
        """By score; newcomers get theirs."""
        beta = min(0.5, max(0.1, 0.1 * len(waiting) / self.situation.slots))
        for request in waiting:
            self._score(request, beta)
        waiting.sort(key=self.key)

    def key(self, request: Any) -> float:
        """Inflated length, tokens."""
        return self._score(request, 0.1)

    def _score(self, request: Any, beta: float) -> float:
        def score() -> float:
            law = predicted(self.situation, request)
            return law.mean() + beta * tail_mean(law, self.values["level"])

        return remembered(request, "score", score)
