"""SSJF: shortest predicted output first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from sagesched.replay.policies.base import Policy
from sagesched.replay.policies.notes import predicted, remembered


class Ssjf(Policy):
    """Speculative shortest-job-first: waiting requests by one predicted number of output tokens.

    The paper fine-tunes a BERT that regresses the length; here the number is read off the
    distribution of ``--predictor``. Prompt length and cache play no part, as there. Left open in
    the paper: starvation, and what happens to a retracted request (here it keeps its place).

    Settings:
        quantile: of the distribution, such as 0.5 for the median; 0 is the mean.
    """

    name = "ssjf"
    source = "SSJF (arXiv 2404.08509); BERT's number replaced by --predictor's mean"
    uses = "distribution"
    settings: ClassVar[Mapping[str, float]] = {"quantile": 0.0}
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"quantile": (0.0, 1.0)}

    def key(self, request: Any) -> float:
        """Predicted output tokens."""
        return remembered(request, "point", lambda: self._point(request))

    def _point(self, request: Any) -> float:
        law = predicted(self.situation, request)
        quantile = self.values["quantile"]
        return law.quantile(quantile) if quantile > 0 else law.mean()
