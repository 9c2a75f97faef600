"""What past requests tell of a new one: their lengths as standard scores, and what each counts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sagesched.lengths import Floats
from sagesched.predict import scores
from sagesched.predict.config import PredictorConfig
from sagesched.predict.records import Records
from sagesched.predict.scale import Origin

LEAST_GAP = 1e-6
"""No division by zero where nothing is nearer than usual."""
SAME_PROMPT = 1.0 - 1e-5
"""Cosine from which on two prompts are the same one."""


class Near(NamedTuple):
    """Records near to a prompt, best first: [k] cosines and slots; and what cosine is usual."""

    cosine: NDArray[np.float32]
    slots: NDArray[np.int64]
    usual: float

    def where(self, chosen: NDArray[np.bool_]) -> Near:
        """Some of them."""
        return Near(self.cosine[chosen], self.slots[chosen], self.usual)


class Asked(NamedTuple):
    """A request: where it comes from, its place on the trend, and by how much such requests miss
    their predictions of late."""

    origin: Origin
    standing: float
    shift: float


class Weighing:
    """Turns records into evidence.

    Args:
        config: how.
        records: of the requests that ended, or run.
    """

    def __init__(self, config: PredictorConfig, records: Records) -> None:
        self._config = config
        self._records = records

    def foreign(self, asked: Asked, near: Near, own_records: int) -> list[scores.Evidence]:
        """What other tenants' records tell: the less, the more the request's own tenant has."""
        near = near.where(~self._records.of_tenant(near.slots, asked.origin.tenant))
        if not len(near.slots):
            return []
        config, finished = self._config, self._records.finished[near.slots]
        corrected, weights, _ = self._weighed(asked, near)
        weights = effective(weights * finished)  # what others run tells nothing yet
        most = config.foreign_most / (1.0 + own_records / config.foreign_until)
        weights *= min(1.0, most / max(float(weights.sum()), LEAST_GAP))
        return [(corrected, weights, finished, config.prior_strength)]

    def own(self, asked: Asked, near: Near) -> list[scores.Evidence]:
        """What the own tenant's neighbours tell, and then draws of the very prompt."""
        if not len(near.slots):
            return []
        config, finished = self._config, self._records.finished[near.slots]
        corrected, weights, same = self._weighed(asked, near)
        others = effective(np.where(same, 0.0, weights))
        evidence = [(corrected, others, finished, config.prior_strength)]
        if same.any():
            draws = np.where(same, self._of_group(near.slots, asked.origin.group), 0.0)
            plain = self._records.scores(near.slots)
            evidence.append((plain, draws, finished, config.repeat_strength))
        return evidence

    def _weighed(self, asked: Asked, near: Near) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Of records [k] the scores, corrected by the trend, their weights, and whether they are of
        the same prompt (which are as near as the nearest other one)."""
        config, records = self._config, self._records
        apart = records.standing[near.slots] - asked.standing
        corrected = records.scores(near.slots) - config.trend_share * apart + asked.shift
        same = near.cosine >= SAME_PROMPT
        excess = np.maximum(near.cosine - near.usual, 0.0)
        most = max(float(np.where(same, 0.0, excess).max()), LEAST_GAP)
        weights = np.minimum(excess / most, 1.0) ** config.sharpness
        weights *= np.exp(-0.5 * (apart / config.trend_window) ** 2) + config.trend_floor
        return corrected, weights * self._of_group(near.slots, asked.origin.group), same

    def _of_group(self, slots: NDArray[np.int64], group: str) -> Floats:
        same = self._records.of_group(slots, group)
        return np.where(same, 1.0, self._config.other_group)


def effective(weights: Floats) -> Floats:
    """Scaled so that their sum is the number of equal ones that would tell as much."""
    squares = float((weights**2).sum())
    return weights * (float(weights.sum()) / squares) if squares > 0.0 else weights
