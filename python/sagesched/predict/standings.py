"""Where every record stands on its tenant's trend, kept up to date a slice at a time."""

from __future__ import annotations

import numpy as np

from sagesched.predict.base import Vectors
from sagesched.predict.records import Records
from sagesched.predict.scale import Origin
from sagesched.predict.tenancy import Slots
from sagesched.predict.trends import Trends

AT_ONCE = 512
SLICE = 16
"""Records whose standing is computed anew in one call: no call may take milliseconds."""


class Standings:
    """The trends, and the records' standings on them.

    Args:
        trends: of all tenants.
        records: whose ``standing`` is kept.
        slots: who holds which record.
    """

    def __init__(self, trends: Trends, records: Records, slots: Slots) -> None:
        self._trends = trends
        self._records = records
        self._slots = slots
        self._outdated = 0  # so many records may stand on an older trend
        self._next = 0

    def of(self, vector: Vectors, tenant: str) -> float:
        """Where a prompt of the tenant stands."""
        return float(self._trends.of(tenant).standing(vector))

    def learn(self, vector: Vectors, score: float, origin: Origin, copies: int, say: float) -> None:
        """A finished request; one of so many records of its prompt, with so much say."""
        # Another draw of a known prompt tells the trend little; a flood of them, nothing.
        if self._trends.learn(origin.tenant, vector, score, 1.0 / copies, say):
            self._outdated = len(self._slots)
        if self._records.has_tenants and self._trends.wants_own(origin.tenant, self._slots.held):
            self._start_own(origin.tenant)

    def refresh(self) -> None:
        """Some standings anew, on the trends as they now are; of few records all, else a slice,
        round and round."""
        if not self._outdated:
            return
        size = len(self._slots)
        count = min(size, self._outdated, SLICE if size > AT_ONCE else size)
        slots = (self._next + np.arange(count)) % size
        trends = [self._trends.of(origin.tenant) for origin in self._records.origins_of(slots)]
        number = {id(trend): n for n, trend in enumerate(trends)}
        of = np.array([number[id(trend)] for trend in trends])
        scores = self._records.scores(slots)
        for n in set(of.tolist()):
            chosen = slots[of == n]
            standing = trends[n].left_out(self._records.vectors[chosen], scores[of == n])
            self._records.standing[chosen] = standing
        self._next = int(slots[-1]) + 1
        self._outdated -= count

    def _start_own(self, tenant: str) -> None:
        records, slots = self._records, np.array(self._slots.of(tenant), dtype=np.int64)
        slots = slots[records.finished[slots]]
        weights = 1.0 / records.copies(slots)
        self._trends.add(tenant, records.vectors[slots], records.scores(slots), weights)
        self._outdated = len(self._slots)
