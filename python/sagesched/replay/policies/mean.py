"""Lowest mean cost first."""

from __future__ import annotations

from typing import Any

from sagesched.replay.policies.base import Policy
from sagesched.replay.policies.notes import predicted, remembered


class Mean(Policy):
    """Shortest expected job first, the size being ``O^2/2 + I*O``: KV memory times steps.

    Waiting requests only, once at arrival: without preemption the Gittins index is no better
    (Gittins, Glazebrook, Weber, *Multi-armed Bandit Allocation Indices*).
    """

    name = "mean"
    source = "SEPT with the cost of SageSched (arXiv 2603.07917, section 3.2)"
    uses = "distribution"

    def key(self, request: Any) -> float:
        """Mean cost of the whole request, KV tokens x steps."""
        return remembered(request, "cost", lambda: self._cost(request))

    def _cost(self, request: Any) -> float:
        law = predicted(self.situation, request)
        edges = law.grid.edges
        prompt = len(request.origin_input_ids)
        return float(law.pmf @ (edges * edges / 2 + prompt * edges))
