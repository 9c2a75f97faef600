"""The length predictor: prompt -> neighbours in the history -> length distribution.

Everything follows from the records in the order they came: no random numbers, no clock, and a
prediction does not depend on the batch it is made in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sagesched.lengths import Floats, LengthDistribution, LengthGrid
from sagesched.predict import scores
from sagesched.predict.base import Embedder, Vectors, unit_rows
from sagesched.predict.features import FEATURES, Options, feature_rows, log_chars
from sagesched.predict.history import History, Neighbours
from sagesched.predict.numbers import UNKNOWN
from sagesched.predict.priors import Priors
from sagesched.predict.records import Records
from sagesched.predict.scale import Origin, Scale, Scales
from sagesched.predict.tenancy import Say, Slots
from sagesched.predict.token_ids import Content, embed_contents
from sagesched.predict.trends import OWN_RECORDS, Trends


class Near(NamedTuple):
    """Records near to a prompt, best first: [k] cosines and slots; and what cosine is usual."""

    cosine: NDArray[np.float32]
    slots: NDArray[np.int64]
    usual: float

    def where(self, chosen: NDArray[np.bool_]) -> Near:
        """Some of them."""
        return Near(self.cosine[chosen], self.slots[chosen], self.usual)


class Running(NamedTuple):
    """A request that has not ended: its record, and what the prior counts it as."""

    slot: int
    stamp: int
    origin: Origin
    score: float
    say: float


class Asked(NamedTuple):
    """A request: where it comes from, its place on the trend, and by how much such requests miss
    their predictions of late."""

    origin: Origin
    standing: float
    shift: float


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


FADES_IN = 3
"""What is kept as sums fades to 1/e in this part of the history, to 5 % in all of it."""

RESTAND_AT_ONCE = 512
RESTAND_SLICE = 16
"""Records whose standing is computed anew in one call: no call may take milliseconds."""

LEAST_GAP = 1e-6
"""No division by zero where nothing is nearer than usual."""

MOST_OWN = 2048
"""Of a tenant's records, the newest ones, among which its own neighbours are sought."""

SAME_PROMPT = 1.0 - 1e-5
"""Cosine from which on two prompts are the same one."""


class LengthPredictor:
    """Learns from finished requests, predicts the output length of new ones. Not thread-safe.

    Args:
        embedder: turns prompts into vectors.
        grid: the bins of every distribution.
        capacity: number of most recent requests that count.
        config: how evidence is weighed.
    """

    def __init__(
        self,
        embedder: Embedder,
        grid: LengthGrid,
        capacity: int = 10_000,
        config: PredictorConfig | None = None,
    ) -> None:
        self.embedder = embedder
        self.grid = grid
        self.config = config or PredictorConfig()
        self.dim = embedder.dim + FEATURES  # the meaning, and what else the prompt says
        self._history = History(embedder.search_dim + 2, capacity)
        self._slots = Slots(capacity)
        self._records = Records(self.dim, capacity)
        memory = max(1, capacity // FADES_IN)
        self._scales = Scales(memory)
        self._trends = Trends(self.dim, FEATURES, capacity)
        self._priors = Priors(memory)
        self._say = Say(memory)
        self._centre = np.zeros(capacity + 1)  # of the scale, by number of the origin
        self._spread = np.ones(capacity + 1)
        self._log_edges = np.log(grid.edges)
        self._to_restand = 0  # so many records may stand on an older trend
        self._restand_from = 0
        self._running: dict[str, Running] = {}

    def embed(
        self, contents: Sequence[Content], options: Sequence[Options] | None = None
    ) -> Vectors:
        """Vectors of the prompts, float32[n, self.dim].

        Args:
            contents: the prompts, as text or token ids.
            options: what each request asks of its answer; nothing where absent.
        """
        meaning = embed_contents(self.embedder, contents)
        asked = None if options is None else list(options)
        return np.concatenate([meaning, feature_rows(contents, asked)], axis=1)

    def predict_from(
        self,
        vectors: Vectors,
        groups: Sequence[str] | None = None,
        tenants: Sequence[str] | None = None,
    ) -> list[LengthDistribution]:
        """Length distributions for vectors[n, self.dim] that `embed` made.

        Args:
            vectors: of the prompts.
            groups: the group of each request (model, adapter, route), "" where absent.
            tenants: on whose behalf each request is made, "" where absent.

        Raises:
            ValueError: an array or a list has another shape.
        """
        vectors = np.asarray(vectors, dtype=np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise ValueError(f"predict_from: expected shape [n, {self.dim}], got {vectors.shape}")
        vectors = self._sane(vectors)
        places = self._places(vectors)
        found = self._history.nearest(places, self.config.neighbours)
        usual = self._history.usual_similarity(places)
        nothing = [""] * len(vectors)
        origins = map(Origin, groups or nothing, tenants or nothing)
        laws = []
        for i, origin in zip(range(len(vectors)), origins, strict=True):
            near = Near(found.cosine[i], found.slots[i], float(usual[i]))
            self.notice(near)
            standing = float(self._trends.of(origin.tenant).standing(vectors[i]))
            laws.append(self._one(places[i], near, standing, origin))
        return [LengthDistribution(self.grid, law) for law in laws]

    def notice(self, near: Near) -> None:
        """Called once for each prompt of `predict_from`, in order: for sub-classes to look at."""

    def record(
        self,
        vector: Vectors,
        output_tokens: int,
        finished: bool,
        group: str = "",
        tenant: str = "",
        key: str | None = None,
    ) -> bool:
        """Learn how long the output of a prompt was; False for an outcome that tells nothing.

        Args:
            vector: of the prompt, from `embed`.
            output_tokens: tokens produced; above the grid's maximum it counts as the maximum.
            finished: False where the model did not end by itself (aborted, disconnected, stopped
                at max_new_tokens): then the output is known to be longer than `output_tokens`.
            group: whatever shifts all lengths: model, adapter, route.
            tenant: on whose behalf: whoever may not spoil the predictions of others.
            key: what `note_running` was told, if it was.

        Raises:
            ValueError: `output_tokens` is not a whole number of at least 0, or the vector has
                the wrong length; nothing is recorded.
        """
        self._check(vector, output_tokens)
        if output_tokens == 0 and not finished:
            self.forget_running(key)
            return False  # aborted before its first token: must not push a record out
        slot = self.forget_running(key)
        tokens = min(int(output_tokens), self.grid.max_tokens)
        vector = self._sane(np.asarray(vector)[np.newaxis])[0]
        self._learn(vector, tokens, finished, Origin(group, tenant), slot)
        return True

    def note_running(
        self, key: str, vector: Vectors, output_tokens: int, group: str = "", tenant: str = ""
    ) -> None:
        """A request has come so far and goes on: it counts as longer than that until it ends.

        Without it the short answers are known first, and the long ones seem not to exist. For now
        and then, as when a length has doubled.

        Args:
            key: of the request; `record` or `forget_running` must follow.
            vector, output_tokens, group, tenant: see `record`.

        Raises:
            ValueError: as `record`.
        """
        self._check(vector, output_tokens)
        origin, known = Origin(group, tenant), self.forget_running(key)
        vector = self._sane(np.asarray(vector)[np.newaxis])[0]
        log_tokens = scores.log_tokens(min(int(output_tokens), self.grid.max_tokens) + 1)
        standing = float(self._trends.of(tenant).standing(vector))
        slot, _ = self._put(vector, log_tokens, False, origin, standing, known)
        self._note_scale(origin)
        score = self._scales.of(origin).score(log_tokens) - self.config.trend_share * standing
        say = self._say.weight(tenant)
        self._priors.running(origin, score, say)
        self._running[key] = Running(slot, self._slots.stamp(slot), origin, score, say)

    def forget_running(self, key: str | None) -> int | None:
        """The request runs no longer; its record's slot, if it is still there."""
        known = self._running.pop(key, None) if key is not None else None
        if known is None:
            return None
        self._priors.running(known.origin, known.score, -known.say)
        return known.slot if self._slots.stamp(known.slot) == known.stamp else None

    def prior(self, group: str = "", tenant: str = "") -> LengthDistribution:
        """What is expected of a prompt that nothing is known of."""
        origin = Origin(group, tenant)
        scale, prior = self._scales.of(origin), self._priors.of(origin)
        return LengthDistribution(self.grid, scores.law(prior, 0.0, scale, self._log_edges))

    def nearest(self, vectors: Vectors) -> Neighbours:
        """The records that a prediction looks at, of vectors[n, self.dim]."""
        return self._history.nearest(self._places(vectors), self.config.neighbours)

    @property
    def history_size(self) -> int:
        """Number of records, at most the capacity."""
        return len(self._history)

    def _check(self, vector: Vectors, output_tokens: int) -> None:
        if isinstance(output_tokens, bool) or not isinstance(output_tokens, (int, np.integer)):
            raise ValueError(f"record: output_tokens must be an int, got {output_tokens!r}")
        if output_tokens < 0:
            raise ValueError(f"record: output_tokens must not be negative, got {output_tokens}")
        if np.shape(vector) != (self.dim,):
            raise ValueError(f"record: vector has shape {np.shape(vector)}, expected ({self.dim},)")

    def _learn(
        self, vector: Vectors, tokens: int, finished: bool, origin: Origin, slot: int | None
    ) -> None:
        # Unfinished at n tokens means n + 1 or more.
        log_tokens = scores.log_tokens(tokens if finished else tokens + 1)
        standing = float(self._trends.of(origin.tenant).standing(vector))
        score = self._scales.of(origin).score(log_tokens)
        say = self._say.of(origin.tenant)
        _, copies = self._put(vector, log_tokens, finished, origin, standing, slot)
        self._priors.learn(origin, score - self.config.trend_share * standing, finished, say)
        if finished:
            # Another draw of a known prompt tells the trend little; a flood of them, nothing.
            if self._trends.learn(origin.tenant, vector, score, 1.0 / copies, say):
                self._to_restand = len(self._history)
            self._scales.learn(origin, log_tokens, score - standing, say)
        self._note_scale(origin)
        if self._trends.wants_own(origin.tenant, lambda tenant: len(self._slots.of(tenant))):
            self._start_own_trend(origin.tenant)
        self._restand()

    def _put(
        self,
        vector: Vectors,
        log_tokens: float,
        finished: bool,
        origin: Origin,
        standing: float,
        slot: int | None,
    ) -> tuple[int, int]:
        """A record in its slot or in a new one: which one, and how many there are of its prompt."""
        if slot is None:
            slot = self._slots.take(origin.tenant)
            self._history.put(slot, self._places(vector[np.newaxis])[0])
        return slot, self._records.put(slot, vector, log_tokens, finished, origin, standing)

    def _start_own_trend(self, tenant: str) -> None:
        slots = np.array(self._slots.of(tenant), dtype=np.int64)
        slots = slots[self._records.finished[slots]]
        weights = 1.0 / self._records.copies(slots)
        self._trends.add(tenant, self._records.vectors[slots], self._scores(slots), weights)
        self._to_restand = len(self._history)

    def _note_scale(self, origin: Origin) -> Scale:
        scale, number = self._scales.of(origin), self._records.origins.of(origin)
        if number != UNKNOWN:
            self._centre[number], self._spread[number] = scale.centre, scale.spread
        return scale

    def _restand(self) -> None:
        """Records' standings anew, on the trends as they now are; of a long history, a slice a
        call, round and round."""
        if not self._to_restand:
            return
        size = len(self._history)
        count = min(size, self._to_restand, RESTAND_SLICE if size > RESTAND_AT_ONCE else size)
        slots = (self._restand_from + np.arange(count)) % size
        scores_of, names = self._scores(slots), self._tenants(slots)
        for tenant in set(names):
            of = np.array([name == tenant for name in names])
            vectors = self._records.vectors[slots[of]]
            standing = self._trends.of(tenant).left_out(vectors, scores_of[of])
            self._records.standing[slots[of]] = standing
        self._restand_from = int(slots[-1]) + 1
        self._to_restand -= count

    def _tenants(self, slots: NDArray[np.int64]) -> list[str]:
        origins = self._records.origins
        return [origins.name(number).tenant for number in self._records.origin[slots].tolist()]

    def _scores(self, slots: NDArray[np.int64]) -> Floats:
        """Standard scores of records[...], each in the scale of its own origin."""
        records, number = self._records, self._records.origin[slots]
        return (records.log_tokens[slots] - self._centre[number]) / self._spread[number]

    def _one(self, place: Vectors, near: Near, standing: float, origin: Origin) -> Floats:
        """The distribution of one request, float64[m]: the prior of where it comes from, then what
        other tenants' records tell, its own tenant's neighbours, and draws of the very prompt."""
        config, own = self.config, len(self._slots.of(origin.tenant))
        self._note_scale(origin)
        asked = Asked(origin, standing, self._scales.shift(origin))
        evidence: list[scores.Evidence] = []
        if own < len(self._history):
            if own < OWN_RECORDS:
                most = config.foreign_most / (1.0 + own / config.foreign_until)
                others = near.where(~self._is_own(near.slots, origin.tenant))
                evidence += self._foreign(asked, others, most)
            near = self._nearest_own(place, origin.tenant)
        evidence += self._own(asked, near)
        moved = config.trend_share * standing + asked.shift
        scale, prior = self._scales.of(origin), self._priors.of(origin)
        return scores.law(prior, moved, scale, self._log_edges, evidence)

    def _nearest_own(self, place: Vectors, tenant: str) -> Near:
        """Of the tenant's newest records, so that no others can crowd them out."""
        slots = np.array(list(self._slots.of(tenant))[-MOST_OWN:], dtype=np.int64)
        cosine = self._history.cosines(place, slots)
        usual = float(cosine.mean()) if len(slots) else 0.0
        best = np.lexsort((slots, -cosine))[: self.config.neighbours]
        return Near(cosine[best], slots[best], usual)

    def _foreign(self, asked: Asked, near: Near, most: float) -> list[scores.Evidence]:
        """What other tenants' records tell: as much as `most` equal neighbours, no more."""
        if not len(near.slots):
            return []
        corrected, weights, _ = self._weighed(asked, near)
        weights = _effective(weights)
        weights *= min(1.0, most / max(float(weights.sum()), LEAST_GAP))
        finished = self._records.finished[near.slots]
        return [(corrected, weights, finished, self.config.prior_strength)]

    def _own(self, asked: Asked, near: Near) -> list[scores.Evidence]:
        """What the own tenant's neighbours tell, and draws of the very prompt."""
        if not len(near.slots):
            return []
        config, finished = self.config, self._records.finished[near.slots]
        corrected, weights, same = self._weighed(asked, near)
        others = _effective(np.where(same, 0.0, weights))
        evidence = [(corrected, others, finished, config.prior_strength)]
        if same.any():
            draws = np.where(same, self._group_weight(near.slots, asked.origin.group), 0.0)
            score = self._scores(near.slots)
            evidence.append((score, draws, finished, config.repeat_strength))
        return evidence

    def _weighed(self, asked: Asked, near: Near) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Of records [k] the scores, corrected by the trend, their weights, and whether they are of
        the same prompt (which are as near as the nearest other one)."""
        config = self.config
        apart = self._records.standing[near.slots] - asked.standing
        corrected = self._scores(near.slots) - config.trend_share * apart + asked.shift
        same = near.cosine >= SAME_PROMPT
        excess = np.maximum(near.cosine - near.usual, 0.0)
        most = max(float(np.where(same, 0.0, excess).max()), LEAST_GAP)
        weights = np.minimum(excess / most, 1.0) ** config.sharpness
        weights *= np.exp(-0.5 * (apart / config.trend_window) ** 2) + config.trend_floor
        return corrected, weights * self._group_weight(near.slots, asked.origin.group), same

    def _is_own(self, slots: NDArray[np.int64], tenant: str) -> NDArray[np.bool_]:
        return self._of_origin(slots, lambda origin: origin.tenant == tenant)

    def _group_weight(self, slots: NDArray[np.int64], group: str) -> Floats:
        same = self._of_origin(slots, lambda origin: origin.group == group)
        return np.where(same, 1.0, self.config.other_group)

    def _of_origin(
        self, slots: NDArray[np.int64], test: Callable[[Origin], bool]
    ) -> NDArray[np.bool_]:
        """Of each record [k], what is true of its origin."""
        numbers = self._records.origin[slots]
        if len(self._records.origins) == 1:  # most servers have one group and no tenants
            return np.full(len(numbers), test(self._records.origins.name(int(numbers[0]))))
        known, of = np.unique(numbers, return_inverse=True)
        return np.array([test(self._records.origins.name(n)) for n in known.tolist()])[of]

    def _places(self, vectors: Vectors) -> Vectors:
        """Where prompts lie for their neighbours, unit rows [n, embedder.search_dim + 2]: by
        meaning, and by length as an angle."""
        config, features = self.config, vectors[:, self.embedder.dim :]
        meaning = unit_rows(vectors[:, : self.embedder.search_dim])
        angle = config.length_frequency * log_chars(features)
        length = np.sqrt(config.length_weight) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return unit_rows(np.concatenate([meaning, length], axis=1))

    def _sane(self, vectors: Vectors) -> Vectors:
        """Meaning of length 1 or 0, features that are numbers: what came from elsewhere may not
        spoil the history."""
        rest = vectors[:, self.embedder.dim :]
        if not np.isfinite(rest).all():
            rest = np.nan_to_num(rest, nan=0.0, posinf=0.0, neginf=0.0)
        rest = np.minimum(np.maximum(rest, -10.0), 10.0).astype(np.float32)
        return np.concatenate([unit_rows(vectors[:, : self.embedder.dim]), rest], axis=1)


def _effective(weights: Floats) -> Floats:
    """Scaled so that their sum is the number of equal ones that would tell as much."""
    squares = float((weights**2).sum())
    return weights * (float(weights.sum()) / squares) if squares > 0.0 else weights
