"""The predictor, with what an answer says of a prediction. Lives in the service's thread."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.predict import Embedder, LengthPredictor
from sagesched.predict.base import Vectors
from sagesched.predict.evidence import Near
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


class Tally:
    """How many of the most recent outcomes each group and tenant has.

    Attributes:
        groups: outcomes by group; may be read by any thread.
        learned: outcomes ever.
    """

    def __init__(self, capacity: int) -> None:
        self.groups: Counter[str] = Counter()
        self.learned = 0
        self._tenants: Counter[str] = Counter()
        self._recent: deque[tuple[str, str]] = deque()
        self._capacity = capacity

    def add(self, group: str, tenant: str) -> None:
        """One more outcome; beyond the capacity the oldest one is forgotten."""
        if len(self._recent) == self._capacity:
            old_group, old_tenant = self._recent.popleft()
            _take_one(self.groups, old_group)
            _take_one(self._tenants, old_tenant)
        self._recent.append((group, tenant))
        self.groups[group] += 1
        self._tenants[tenant] += 1
        self.learned += 1

    def level(self, group: str, tenant: str, alike: int) -> FallbackLevel:
        """What an answer rests on that found so many prompts alike."""
        known = {
            FallbackLevel.TENANT: self._tenants[tenant] if tenant else 0,
            FallbackLevel.GROUP: self.groups[group] if group else 0,
            FallbackLevel.GLOBAL: len(self._recent),
        }
        if known[FallbackLevel.GLOBAL] < ENOUGH[FallbackLevel.GLOBAL]:
            return FallbackLevel.COLD_START
        if alike >= ENOUGH_ALIKE:
            return FallbackLevel.NEIGHBOURS
        return next(level for level, least in ENOUGH.items() if known[level] >= least)


class ExplainingPredictor(LengthPredictor):
    """A `LengthPredictor` whose distributions are `Explained`.

    Attributes:
        tally: of what it has learned.
        latest_priors: of groups, some outcomes old; may be read by any thread.
    """

    def __init__(self, embedder: Embedder, grid: LengthGrid, capacity: int) -> None:
        super().__init__(embedder, grid, capacity)
        self.tally = Tally(capacity)
        self.latest_priors: dict[str, LengthDistribution] = {}
        self._prior_from: dict[str, int] = {}  # outcomes learned when it was computed
        self._alike: list[int] = []  # of the predictions in progress

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
        levels = map(self.tally.level, groups or nobody, tenants or nobody, self._alike)
        return list(map(Explained.of, laws, levels))

    def notice(self, near: Near) -> None:
        """Notes how many finished requests were alike."""
        self._alike.append(int((near.cosine - near.usual >= ALIKE * (1.0 - near.usual)).sum()))

    def record(
        self,
        vector: Vectors,
        output_tokens: int,
        finished: bool,
        group: str = "",
        tenant: str = "",
        key: str | None = None,
    ) -> bool:
        """See `LengthPredictor.record`."""
        learned = super().record(vector, output_tokens, finished, group, tenant, key)
        if learned:
            self.tally.add(group, tenant)
        return learned

    def _keep_prior(self, group: str) -> None:
        if self.tally.learned - self._prior_from.get(group, -PRIOR_EVERY) < PRIOR_EVERY:
            return
        if len(self.latest_priors) >= MOST_PRIORS:
            self.latest_priors.clear()
            self._prior_from.clear()
        self.latest_priors[group] = self.prior(group)
        self._prior_from[group] = self.tally.learned


def _take_one(counts: Counter[str], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
