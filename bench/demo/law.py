"""Laws of the true output length: mixtures of log-normals, cut to what the server may produce."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

MAX_OUTPUT_TOKENS = 1000
"""No true length is above this; it is also the same generous max_new_tokens for every request."""


@dataclass(frozen=True)
class Mode:
    """One log-normal component: ``exp(N(ln median, sigma^2))`` tokens, taken with ``weight``."""

    weight: float
    median: float
    sigma: float


@dataclass(frozen=True)
class LengthLaw:
    """A mixture of log-normals, rounded to whole tokens within 1..MAX_OUTPUT_TOKENS.

    Attributes:
        modes: the components; their weights sum to 1.
    """

    modes: tuple[Mode, ...]

    def __post_init__(self) -> None:
        if not math.isclose(sum(m.weight for m in self.modes), 1.0):
            raise ValueError(f"the weights of a length law must sum to 1: {self.modes}")

    def sample(self, rng: random.Random) -> int:
        """Draw one output length in tokens."""
        (mode,) = rng.choices(self.modes, weights=[m.weight for m in self.modes])
        tokens = round(rng.lognormvariate(math.log(mode.median), mode.sigma))
        return min(max(tokens, 1), MAX_OUTPUT_TOKENS)

    def moment(self, order: int) -> float:
        """E[length^order], before rounding and cutting."""
        return sum(
            m.weight * math.exp(order * math.log(m.median) + (order * m.sigma) ** 2 / 2)
            for m in self.modes
        )

    def __str__(self) -> str:
        parts = (f"{m.weight:.0%} median {m.median:g} (sigma {m.sigma:g})" for m in self.modes)
        return " + ".join(parts) if len(self.modes) > 1 else next(parts).split(" ", 1)[1]


def log_normal(median: float, sigma: float) -> LengthLaw:
    """A law with a single mode."""
    return LengthLaw((Mode(1.0, median, sigma),))


def mixture_mean(parts: Sequence[tuple[float, LengthLaw]]) -> float:
    """Mean length over families, given (weight, law) pairs whose weights sum to 1."""
    return sum(weight * law.moment(1) for weight, law in parts)


def mixture_cv(parts: Sequence[tuple[float, LengthLaw]]) -> float:
    """Coefficient of variation (standard deviation over mean) over families."""
    mean = mixture_mean(parts)
    second = sum(weight * law.moment(2) for weight, law in parts)
    return math.sqrt(second - mean**2) / mean
