"""One trend that all share, and one of its own for each tenant with a history of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sagesched.lengths import Floats
from sagesched.predict.base import Vectors
from sagesched.predict.trend import Trend

OWN_RECORDS = 256
"""A tenant with so many records is judged by them alone: what others send cannot touch it."""
MOST_OWN = 32
"""About 1 MB each. A further tenant shares until it has a quarter more records than one of them."""


class Trends:
    """The trend that a tenant's requests stand on.

    Args:
        dim, features, window: of each `Trend`.
    """

    def __init__(self, dim: int, features: int, window: int) -> None:
        self._make = partial(Trend, dim, features, window)
        self._shared = self._make()
        self._own: dict[str, Trend] = {}

    def of(self, tenant: str) -> Trend:
        """Its own, or the shared one."""
        return self._own.get(tenant, self._shared)

    def learn(self, tenant: str, vector: Vectors, score: float, weight: float, say: float) -> bool:
        """A finished request; `say` is its weight in what tenants share. True if fitted anew."""
        fitted = self._shared.learn(vector, score, weight * say)
        own = self._own.get(tenant)
        return fitted if own is None else own.learn(vector, score, weight) or fitted

    def wants_own(self, tenant: str, held: Callable[[str], int]) -> bool:
        """Whether one of several tenants should get its own now; `held` tells how many records a
        tenant has."""
        if tenant in self._own or held(tenant) < OWN_RECORDS:
            return False
        if len(self._own) >= MOST_OWN:
            smallest = min(self._own, key=held)
            if held(tenant) < 1.25 * held(smallest):
                return False
            del self._own[smallest]
        return True

    def add(self, tenant: str, vectors: Vectors, scores: Floats, weights: Floats) -> None:
        """Start a tenant's own with its records [n]."""
        self._own[tenant] = self._make()
        self._own[tenant].start(vectors, scores, weights)
