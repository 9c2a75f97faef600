"""The predictor, with what an answer says of a prediction. Lives in the service's thread."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

import numpy as np

from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.predict import Embedder, LengthPredictor
from sagesched.predict.base import Vectors
from sagesched.predictor_service.schema import FallbackLevel

ENOUGH = {FallbackLevel.TENANT: 30, FallbackLevel.GROUP: 30, FallbackLevel.GLOBAL: 8}
"""Finished requests from which on they weigh as much as what is believed without them."""
MOVED = 0.1
"""Share of the probability that a prompt must move for an answer to rest on its neighbours."""
MOST_PRIORS = 1024


class Explained(LengthDistribution):
    """A distribution that knows what it rests on."""

    level: FallbackLevel

    @classmethod
    def of(cls, law: LengthDistribution, level: FallbackLevel) -> Explained:
        """The same, with a level."""
        explained = cls(law.grid, law.pmf)
        object.__setattr__(explained, "level", level)
        return explained


class ExplainingPredictor(LengthPredictor):
    """A `LengthPredictor` whose distributions are `Explained`.

    Attributes:
        priors: of groups, as of their last prediction; to be read by anyone.
        records: finished requests in the history by group; to be read by anyone.
    """

    def __init__(self, embedder: Embedder, grid: LengthGrid, capacity: int) -> None:
        super().__init__(embedder, grid, capacity)
        self.priors: dict[str, LengthDistribution] = {}
        self.records: Counter[str] = Counter()
        self._tenants: Counter[str] = Counter()
        self._recent: deque[tuple[str, str]] = deque()
        self._capacity = capacity

    def predict_from(
        self,
        vectors: Vectors,
        groups: Sequence[str] | None = None,
        tenants: Sequence[str] | None = None,
    ) -> list[LengthDistribution]:
        """See `LengthPredictor.predict_from`."""
        laws = super().predict_from(vectors, groups, tenants)
        nobody = [""] * len(laws)
        return list(map(self._explained, laws, groups or nobody, tenants or nobody))

    def record(
        self,
        vector: Vectors,
        output_tokens: int,
        finished: bool,
        group: str = "",
        tenant: str = "",
    ) -> bool:
        """See `LengthPredictor.record`."""
        learned = super().record(vector, output_tokens, finished, group, tenant)
        if learned:
            self._count(group, tenant)
        return learned

    def _count(self, group: str, tenant: str) -> None:
        if len(self._recent) == self._capacity:
            old_group, old_tenant = self._recent.popleft()
            _take_one(self.records, old_group)
            _take_one(self._tenants, old_tenant)
        self._recent.append((group, tenant))
        self.records[group] += 1
        self._tenants[tenant] += 1

    def _explained(self, law: LengthDistribution, group: str, tenant: str) -> Explained:
        prior = self.prior(group, tenant)
        if len(self.priors) >= MOST_PRIORS:
            self.priors.clear()
        self.priors[group] = prior
        return Explained.of(law, self._level(law, prior, group, tenant))

    def _level(
        self, law: LengthDistribution, prior: LengthDistribution, group: str, tenant: str
    ) -> FallbackLevel:
        known = {
            FallbackLevel.TENANT: self._tenants[tenant] if tenant else 0,
            FallbackLevel.GROUP: self.records[group] if group else 0,
            FallbackLevel.GLOBAL: len(self._recent),
        }
        if known[FallbackLevel.GLOBAL] < ENOUGH[FallbackLevel.GLOBAL]:
            return FallbackLevel.COLD_START
        if 0.5 * float(np.abs(law.pmf - prior.pmf).sum()) >= MOVED:
            return FallbackLevel.NEIGHBOURS
        return next(level for level, least in ENOUGH.items() if known[level] >= least)


def _take_one(counts: Counter[str], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
