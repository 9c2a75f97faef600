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
from sagesched.predict.trend import Trend

_NO_FLAGS = np.zeros(0, dtype=bool)


class Near(NamedTuple):
    """Records near to a prompt, best first: [k] cosines and slots; and what cosine is usual."""

    cosine: NDArray[np.float32]
    slots: NDArray[np.int64]
    usual: float


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
    least_own: int = 16
    """With fewer records of the request's own tenant among its neighbours, more are sought."""

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
        self._trend = Trend(self.dim, FEATURES, capacity)
        self._priors = Priors(memory)
        self._say = Say(memory)
        self._centre = np.zeros(capacity + 1)  # of the scale, by number of the origin
        self._spread = np.ones(capacity + 1)
        self._log_edges = np.log(grid.edges)
        self._to_restand = 0  # records from the first one on that stand on an older trend

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
        standing = self._trend.standing(vectors)
        nothing = [""] * len(vectors)
        origins = map(Origin, groups or nothing, tenants or nothing)
        laws = []
        for i, origin in zip(range(len(vectors)), origins, strict=True):
            near = Neighbours(found.cosine[i], found.slots[i])
            near = self._with_own(near, places[i], origin.tenant)
            self.notice(Near(near.cosine, near.slots, float(usual[i])))
            laws.append(self._one(near, float(usual[i]), float(standing[i]), origin))
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
    ) -> bool:
        """Learn how long the output of a prompt was; False for an outcome that tells nothing.

        Args:
            vector: of the prompt, from `embed`.
            output_tokens: tokens produced; above the grid's maximum it counts as the maximum.
            finished: False where the model did not end by itself (aborted, disconnected, stopped
                at max_new_tokens): then the output is known to be longer than `output_tokens`.
            group: whatever shifts all lengths: model, adapter, route.
            tenant: on whose behalf: whoever may not spoil the predictions of others.

        Raises:
            ValueError: `output_tokens` is not a whole number of at least 0, or the vector has
                the wrong length; nothing is recorded.
        """
        if isinstance(output_tokens, bool) or not isinstance(output_tokens, (int, np.integer)):
            raise ValueError(f"record: output_tokens must be an int, got {output_tokens!r}")
        if output_tokens < 0:
            raise ValueError(f"record: output_tokens must not be negative, got {output_tokens}")
        if output_tokens == 0 and not finished:
            return False  # aborted before its first token: must not push a record out
        if np.shape(vector) != (self.dim,):
            raise ValueError(f"record: vector has shape {np.shape(vector)}, expected ({self.dim},)")
        tokens = min(int(output_tokens), self.grid.max_tokens)
        vector = self._sane(np.asarray(vector)[np.newaxis])[0]
        self._learn(vector, tokens, finished, Origin(group, tenant))
        return True

    def prior(self, group: str = "", tenant: str = "") -> LengthDistribution:
        """What is expected of a prompt that nothing is known of."""
        origin = Origin(group, tenant)
        return LengthDistribution(self.grid, self._law(origin, 0.0))

    def nearest(self, vectors: Vectors) -> Neighbours:
        """The records that a prediction looks at, of vectors[n, self.dim]."""
        return self._history.nearest(self._places(vectors), self.config.neighbours)

    @property
    def history_size(self) -> int:
        """Number of records, at most the capacity."""
        return len(self._history)

    def _learn(self, vector: Vectors, tokens: int, finished: bool, origin: Origin) -> None:
        # Unfinished at n tokens means n + 1 or more.
        log_tokens = scores.log_tokens(tokens if finished else tokens + 1)
        standing = float(self._trend.standing(vector))
        score = self._scales.of(origin).score(log_tokens)
        slot, say = self._slots.take(origin.tenant), self._say.of(origin.tenant)
        self._history.put(slot, self._places(vector[np.newaxis])[0])
        copies = self._records.put(slot, vector, log_tokens, finished, origin, standing)
        self._priors.learn(origin, score - self.config.trend_share * standing, finished, say)
        if finished:
            # Another draw of a known prompt tells the trend little; a flood of them, nothing.
            if self._trend.learn(vector, score, say / copies):
                self._to_restand = len(self._history)
            self._restand()
            self._scales.learn(origin, log_tokens, score - standing, say)
        self._note_scale(origin)

    def _note_scale(self, origin: Origin) -> Scale:
        scale, number = self._scales.of(origin), self._records.origins.of(origin)
        if number != UNKNOWN:
            self._centre[number], self._spread[number] = scale.centre, scale.spread
        return scale

    def _restand(self) -> None:
        """Records' standings anew, on the trend as it now is; of a long history, a slice a call."""
        if not self._to_restand:
            return
        records, end = self._records, self._to_restand
        start = 0 if end <= RESTAND_AT_ONCE else end - RESTAND_SLICE
        slots = np.arange(start, end)
        records.standing[slots] = self._trend.left_out(records.vectors[slots], self._scores(slots))
        self._to_restand = start

    def _scores(self, slots: NDArray[np.int64]) -> Floats:
        """Standard scores of records[...], each in the scale of its own origin."""
        records, number = self._records, self._records.origin[slots]
        return (records.log_tokens[slots] - self._centre[number]) / self._spread[number]

    def _with_own(self, found: Neighbours, place: Vectors, tenant: str) -> Neighbours:
        """With neighbours of the request's own tenant, where others' crowd them out."""
        own = self._slots.of(tenant)
        least = min(self.config.least_own, len(own))
        if not tenant or self._is_own(found.slots, tenant).sum() >= least:
            return found
        newest = np.array(list(own)[-MOST_OWN:], dtype=np.int64)
        slots = newest[~np.isin(newest, found.slots)]
        cosine = self._history.cosines(place, slots)
        best = np.argsort(-cosine, kind="stable")[: self.config.neighbours]
        return Neighbours(
            np.concatenate([found.cosine, cosine[best]]), np.concatenate([found.slots, slots[best]])
        )

    def _one(self, found: Neighbours, usual: float, standing: float, origin: Origin) -> Floats:
        """The distribution of one request, float64[m]: the prior of where it comes from, then what
        other tenants' records tell, its own tenant's neighbours, and draws of the very prompt."""
        config, records, slots = self.config, self._records, found.slots
        self._note_scale(origin)
        shift = self._scales.shift(origin)
        moved = config.trend_share * standing + shift
        if not len(slots):
            return self._law(origin, moved)
        score, theirs = self._scores(slots), records.standing[slots]
        corrected = score + config.trend_share * (standing - theirs) + shift
        same = found.cosine >= SAME_PROMPT
        group = self._group_weight(slots, origin.group)
        near = self._nearness(found.cosine, same, usual) * self._on_trend(theirs - standing) * group
        own = self._is_own(slots, origin.tenant)
        evidence: list[scores.Evidence] = []
        if not own.all():
            foreign = np.where(own, 0.0, np.where(same, group, near))
            evidence.append((corrected, _effective(foreign), config.prior_strength))
        neighbours = np.where(own & ~same, near, 0.0)
        evidence.append((corrected, _effective(neighbours), config.prior_strength))
        if same.any():
            draws = np.where(own & same, group, 0.0)
            evidence.append((score, draws, config.repeat_strength))
        return self._law(origin, moved, records.finished[slots], evidence)

    def _law(
        self,
        origin: Origin,
        moved: float,
        finished: NDArray[np.bool_] = _NO_FLAGS,
        evidence: Sequence[scores.Evidence] = (),
    ) -> Floats:
        scale, prior = self._scales.of(origin), self._priors.of(origin)
        return scores.law(prior, moved, scale, self._log_edges, finished, evidence)

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

    def _nearness(
        self, cosine: NDArray[np.float32], same: NDArray[np.bool_], usual: float
    ) -> Floats:
        """Of each neighbour [k], in 0 to 1; 1 is the nearest prompt that is not the same one."""
        excess = np.where(same, 0.0, np.maximum(cosine - usual, 0.0))
        return np.asarray((excess / max(float(excess.max()), LEAST_GAP)) ** self.config.sharpness)

    def _on_trend(self, apart: Floats) -> Floats:
        config = self.config
        near = np.exp(-0.5 * (apart / config.trend_window) ** 2)
        return np.asarray(near + config.trend_floor)

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
