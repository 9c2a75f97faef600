"""From a length distribution to the fields of an answer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sagesched.cost import CostModel
from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.predict.defaults import cold_start_pmf
from sagesched.predictor_service.schema import Asked, FallbackLevel, Prediction, SizeBucket

BUCKETS = (
    (128, SizeBucket.SHORT),
    (512, SizeBucket.MEDIUM),
    (2048, SizeBucket.LONG),
)
"""Up to so many tokens, by the median. The names are those of arXiv 2604.06970; the limits are
ours, a factor of four apart, with ordinary chat answers in `medium`."""

QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
CHARS_PER_TOKEN = 4
RISKY = 2.0
"""Times the median: an output longer than that spoils the plan of whoever relied on it."""


@dataclass(frozen=True)
class Answering:
    """What all answers have in common.

    Attributes:
        grid: of the distributions.
        cost: the unit of `predicted_cost_p50`.
    """

    grid: LengthGrid
    cost: CostModel

    def __post_init__(self) -> None:
        nothing_known = LengthDistribution(self.grid, cold_start_pmf(self.grid))
        object.__setattr__(self, "_width_unknown", _width(quantiles(nothing_known)))

    def answer(
        self, key: str, asked: Asked, predicted: LengthDistribution, level: FallbackLevel
    ) -> Prediction:
        """All fields, of a prediction that is first cut to what the request may generate."""
        limit = self._limit(asked)
        law = predicted.capped(limit)
        # The limit's bin may end beyond it.
        edges = quantiles(law)
        tokens = {q: min(edge, limit) for q, edge in edges.items()}
        median = tokens[0.5]
        return Prediction(
            key=key,
            size_bucket=bucket_of(median),
            expected_output_tokens_p50=median,
            expected_output_tokens_p90=tokens[0.9],
            predicted_cost_p50=self.cost.remaining(median, prompt_len=_prompt_tokens(asked)),
            risk_score=min(1.0, law.survival(RISKY * median)),
            confidence_score=self._confidence(edges),
            fallback_level=level,
            quantiles={f"{q:g}": value for q, value in tokens.items()},
        )

    def _limit(self, asked: Asked) -> int:
        room = max(1, self.grid.max_tokens - (asked.known_prompt_tokens() or 0))
        return room if asked.max_new_tokens is None else min(asked.max_new_tokens, room)

    def _confidence(self, edges: dict[float, int]) -> float:
        unknown: float = self._width_unknown  # type: ignore[attr-defined]
        return max(0.0, 1.0 - _width(edges) / unknown) if unknown > 0.0 else 1.0


def bucket_of(tokens: float) -> SizeBucket:
    """The bucket of a length."""
    return next((bucket for limit, bucket in BUCKETS if tokens <= limit), SizeBucket.XLONG)


def quantiles(law: LengthDistribution) -> dict[float, int]:
    """`law.quantile` of all `QUANTILES`, from one pass."""
    places = np.searchsorted(np.cumsum(law.pmf), QUANTILES, side="left")
    last = np.flatnonzero(law.pmf)[-1]
    return dict(zip(QUANTILES, map(int, law.grid.edges[np.minimum(places, last)]), strict=True))


def _width(edges: dict[float, int]) -> float:
    return math.log(edges[0.9] / edges[0.1])


def _prompt_tokens(asked: Asked) -> int:
    known = asked.known_prompt_tokens()
    return -(-len(asked.prompt) // CHARS_PER_TOKEN) if known is None else known
