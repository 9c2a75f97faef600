"""Fairness among tenants: what one of them may push out of the history, and its say in what all
share.

A tenant is whoever must not be able to spoil the predictions of others: a customer, an API key.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict, deque
from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

LEAST_SAY = 0.1
FEW = 20.0
"""The say of a tenant falls as the others send some tens of requests, and not below a tenth."""
MOST_TENANTS = 4096


class Slots:
    """Which place of the history the next record takes: a free one, or that of the oldest record.

    A tenant that holds more than half of all places makes room itself. Constant time.

    Args:
        capacity: number of places, at least 1.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._used = 0
        self._taken = 0  # ever
        self._stamps = np.zeros(capacity, dtype=np.int64)  # by slot: when
        self._tenants = [""] * capacity  # by slot: by whom
        self._by_age: OrderedDict[int, None] = OrderedDict()  # slots, the oldest record's first
        self._of: dict[str, deque[int]] = {}  # by tenant, oldest first
        self._greedy: str | None = None

    def take(self, tenant: str = "") -> int:
        """A place 0 <= slot < capacity for a new record of the tenant."""
        slot = self._free()
        self._taken += 1
        self._stamps[slot] = self._taken
        self._tenants[slot] = tenant
        self._by_age[slot] = None
        own = self._of.setdefault(tenant, deque())
        own.append(slot)
        if len(own) > self._capacity // 2:
            self._greedy = tenant
        return slot

    def stamp(self, slot: int) -> int:
        """Tells the record in a place from those before and after it."""
        return int(self._stamps[slot])

    def of(self, tenant: str) -> Sequence[int]:
        """Places of the tenant's records, oldest first."""
        return self._of.get(tenant, ())

    def held(self, tenant: str) -> int:
        """How many places the tenant has."""
        return len(self.of(tenant))

    def newest(self, tenant: str, count: int) -> NDArray[np.int64]:
        """At most so many of the tenant's places, those taken last."""
        own = self.of(tenant)
        return np.fromiter(islice(reversed(own), count), dtype=np.int64)

    def __len__(self) -> int:
        return self._used

    def _free(self) -> int:
        if self._used < self._capacity:
            self._used += 1
            return self._used - 1
        greedy = self._of.get(self._greedy) if self._greedy is not None else None
        if greedy is not None and len(greedy) > self._capacity // 2:
            slot = greedy[0]
        else:
            slot = next(iter(self._by_age))
        del self._by_age[slot]
        own = self._of[self._tenants[slot]]
        own.popleft()  # the oldest of all is the oldest of its tenant
        if not own:
            del self._of[self._tenants[slot]]
        return slot


class Say:
    """How much a request counts in what all tenants share: a tenant that sends more than half of
    all requests has together the say of all others, as long as they send one request in 11.

    Requests that name no tenant count fully.

    Args:
        window: a request fades to 1/e over this many later ones.
    """

    def __init__(self, window: int) -> None:
        self._growth = math.exp(1.0 / window)
        self._now = 1.0  # weight of the next request; all sums are in units of it
        self._total = 0.0
        self._counts: dict[str, float] = {}

    def of(self, tenant: str) -> float:
        """The weight of a new request of the tenant, which is counted."""
        self._now *= self._growth
        self._counts[tenant] = self._counts.get(tenant, 0.0) + self._now
        self._total += self._now
        weight = self.weight(tenant)
        if self._now > 1e6 or len(self._counts) > MOST_TENANTS:
            self._tidy()
        return weight

    def weight(self, tenant: str) -> float:
        """The same, without counting one."""
        own = self._counts.get(tenant, 0.0)
        if not (tenant and own):
            return 1.0
        others = self._total - own
        least = max(LEAST_SAY, 1.0 / (1.0 + others / (FEW * self._now)))
        return min(1.0, max(others / own, least))

    def _tidy(self) -> None:
        biggest = heapq.nlargest(MOST_TENANTS // 2, self._counts, key=self._counts.__getitem__)
        self._counts = {tenant: self._counts[tenant] / self._now for tenant in biggest}
        self._total /= self._now
        self._now = 1.0
