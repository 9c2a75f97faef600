"""The predictor, with what an answer says of a prediction. Lives in the service's thread."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from sagesched.lengths import Floats, LengthDistribution, LengthGrid
from sagesched.predict import Embedder, LengthPredictor
from sagesched.predict.base import Vectors
from sagesched.predict.history import Neighbours
from sagesched.predict.scale import Origin
from sagesched.predictor_service.schema import FallbackLevel

ENOUGH = {FallbackLevel.TENANT: 30, FallbackLevel.GROUP: 30, FallbackLevel.GLOBAL: 8}
"""Finished requests from which on they weigh as much as what is believed without them."""
ALIKE = 0.5
"""Prompts are alike whose similarity is half of the way from the usual one to identity."""
ENOUGH_ALIKE = 3
"""Finished requests with a prompt alike from which on an answer rests on them."""
MOST_PRIORS = 1024
PRIOR_EVERY = 16
"""Outcomes after which a group's prior is computed anew."""


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
        priors: of groups, some outcomes old; to be read by anyone.
        records: finished requests in the history by group; to be read by anyone.
    """

    def __init__(self, embedder: Embedder, grid: LengthGrid, capacity: int) -> None:
        super().__init__(embedder, grid, capacity)
        self.priors: dict[str, LengthDistribution] = {}
        self.records: Counter[str] = Counter()
        self._tenants: Counter[str] = Counter()
        self._learned = 0
        self._prior_from: dict[str, int] = {}  # outcomes learned when it was computed
        self._alike: list[int] = []  # of the predictions in progress
        self._recent: deque[tuple[str, str]] = deque()
        self._capacity = capacity

    def predict_from(
        self,
        vectors: Vectors,
        groups: Sequence[str] | None = None,
        tenants: Sequence[str] | None = None,
    ) -> list[LengthDistribution]:
        """See `LengthPredictor.predict_from`."""
        self._alike.clear()
        laws = super().predict_from(vectors, groups, tenants)
        nobody = [""] * len(laws)
        for group in set(groups or nobody):
            self._keep_prior(group)
        levels = map(self._level, groups or nobody, tenants or nobody, self._alike)
        return list(map(Explained.of, laws, levels))

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

    def _keep_prior(self, group: str) -> None:
        if self._learned - self._prior_from.get(group, -PRIOR_EVERY) < PRIOR_EVERY:
            return
        if len(self.priors) >= MOST_PRIORS:
            self.priors.clear()
            self._prior_from.clear()
        self.priors[group] = self.prior(group)
        self._prior_from[group] = self._learned

    def _count(self, group: str, tenant: str) -> None:
        self._learned += 1
        if len(self._recent) == self._capacity:
            old_group, old_tenant = self._recent.popleft()
            _take_one(self.records, old_group)
            _take_one(self._tenants, old_tenant)
        self._recent.append((group, tenant))
        self.records[group] += 1
        self._tenants[tenant] += 1

    def _one(self, found: Neighbours, usual: float, standing: float, origin: Origin) -> Floats:
        """Called once for each prediction; notes how many finished requests were alike."""
        alike = found.cosine - usual >= ALIKE * (1.0 - usual)
        self._alike.append(int(alike.sum()))
        return super()._one(found, usual, standing, origin)

    def _level(self, group: str, tenant: str, alike: int) -> FallbackLevel:
        known = {
            FallbackLevel.TENANT: self._tenants[tenant] if tenant else 0,
            FallbackLevel.GROUP: self.records[group] if group else 0,
            FallbackLevel.GLOBAL: len(self._recent),
        }
        if known[FallbackLevel.GLOBAL] < ENOUGH[FallbackLevel.GLOBAL]:
            return FallbackLevel.COLD_START
        if alike >= ENOUGH_ALIKE:
            return FallbackLevel.NEIGHBOURS
        return next(level for level, least in ENOUGH.items() if known[level] >= least)


def _take_one(counts: Counter[str], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
