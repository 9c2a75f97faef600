"""How a predictor weighs its evidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PredictorConfig:
    """How evidence is weighed; where the values come from is said in docs/decisions.md."""

    neighbours: int = 128
    sharpness: float = 2.0
    """A neighbour's weight is its similarity above what is usual in the history, as a share of
    the nearest one's, to this power: embedders differ in how similar unrelated texts are."""
    length_weight: float = 0.25
    """Say of the prompt's length in similarity, where that of its meaning is 1."""
    length_frequency: float = 0.6
    """Radians per unit of ln(characters): lengths a factor 190 apart (pi / 0.6) are opposites."""
    trend_window: float = 0.4
    """And falls with its distance on the trend, as a normal density of this deviation does, in
    standard scores."""
    trend_floor: float = 0.02
    """But not below this share."""
    trend_share: float = 0.5
    """Of the distance on the trend a neighbour's length is corrected by."""
    prior_strength: float = 2.0
    """Weight of the prior of group and history in a prediction, in neighbours that all count."""
    near_from: float = 8.0
    """With so many records of a tenant its neighbours count 1 at most, with twice as many 4, and so
    on with the square: the nearest ones of a few need not be near."""
    repeat_strength: float = 4.0
    """Weight of all that is not the same prompt, in draws of the same prompt."""
    other_group: float = 0.3
    """What a neighbour of another group counts, its length in standard scores of its own."""
    foreign_most: float = 8.0
    """What other tenants' records count together at most, in neighbours that all count."""
    foreign_until: float = 32.0
    """Half of it where the tenant has so many records of its own, and so on."""

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise ValueError(f"PredictorConfig: neighbours must be >= 1, got {self.neighbours}")
        for name in ("trend_window", "prior_strength", "repeat_strength"):
            if not 0.0 < getattr(self, name) < np.inf:
                raise ValueError(f"PredictorConfig: {name} must be positive and finite")
