"""What past requests tell of a new one: their lengths as standard scores, and what each counts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sagesched import _core
from sagesched.lengths import Floats
from sagesched.predict import scores
from sagesched.predict.config import PredictorConfig
from sagesched.predict.records import Records
from sagesched.predict.scale import Origin

LEAST_WEIGHT = 1e-6
"""No division by zero where nothing counts."""


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
        self._weights = (
            config.sharpness,
            config.trend_window,
            config.trend_floor,
            config.trend_share,
            config.other_group,
        )

    def foreign(self, asked: Asked, near: Near, own_records: int) -> list[scores.Evidence]:
        """What other tenants' records tell: the less, the more the request's own tenant has."""
        near = near.where(~self._records.of_tenant(near.slots, asked.origin.tenant))
        if not len(near.slots):
            return []
        config = self._config
        corrected, weights, finished, _ = self._weighed(asked, near, foreign=True)
        most = config.foreign_most / (1.0 + own_records / config.foreign_until)
        weights *= min(1.0, most / max(float(weights.sum()), LEAST_WEIGHT))
        return [(corrected, weights, finished, config.prior_strength)]

    def own(self, asked: Asked, near: Near, own_records: int) -> list[scores.Evidence]:
        """What the own tenant's neighbours tell, the less, the fewer records it has; and then draws
        of the very prompt."""
        if not len(near.slots):
            return []
        config = self._config
        corrected, weights, finished, draws = self._weighed(asked, near, foreign=False)
        most = (own_records / config.near_from) ** 2
        weights *= min(1.0, most / max(float(weights.sum()), LEAST_WEIGHT))
        evidence = [(corrected, weights, finished, config.prior_strength)]
        if draws is not None:
            evidence.append((*draws, finished, config.repeat_strength))
        return evidence

    def _weighed(
        self, asked: Asked, near: Near, foreign: bool
    ) -> tuple[Floats, Floats, NDArray[np.bool_], tuple[Floats, Floats] | None]:
        records = self._records
        group = records.groups.of(asked.origin.group)
        return _core.weigh(
            records.columns, near, (asked.standing, asked.shift, group), self._weights, foreign
        )
