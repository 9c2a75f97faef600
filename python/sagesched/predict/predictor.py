"""The length predictor: prompt -> neighbours in the history -> length distribution.

Everything follows from the records in the order they came: no random numbers, no clock, and a
prediction does not depend on the batch it is made in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sagesched.lengths import Floats, LengthDistribution, LengthGrid
from sagesched.predict import scores
from sagesched.predict.base import Embedder, Vectors, unit_rows
from sagesched.predict.config import PredictorConfig
from sagesched.predict.evidence import Asked, Near, Weighing
from sagesched.predict.features import FEATURES, Options, feature_rows, log_chars
from sagesched.predict.history import History, Neighbours
from sagesched.predict.priors import Priors
from sagesched.predict.records import Records
from sagesched.predict.running import RunningRequests
from sagesched.predict.scale import Origin, Scale, Scales
from sagesched.predict.standings import Standings
from sagesched.predict.tenancy import Say, Slots
from sagesched.predict.token_ids import Content, embed_contents
from sagesched.predict.trends import OWN_RECORDS, Trends

FADES_IN = 3
"""What is kept as sums fades to 1/e in this part of the history, to 5 % in all of it."""

NEWEST_OWN = 2048
"""Of a tenant's records, the newest ones, among which its own neighbours are sought."""


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
        memory = max(1, capacity // FADES_IN)
        self._scales = Scales(memory)
        self._priors = Priors(memory)
        self._say = Say(memory)
        self._records = Records(self.dim, capacity, (self._scales, self._priors))
        trends = Trends(self.dim, FEATURES, capacity)
        self._standings = Standings(trends, self._records, self._slots)
        self._running = RunningRequests(self._slots, self._priors)
        self._weighing = Weighing(self.config, self._records)
        self._log_edges = np.log(grid.edges)

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
        nothing = [""] * len(vectors)
        origins = map(Origin, groups or nothing, tenants or nothing)
        laws = []
        for i, origin in zip(range(len(vectors)), origins, strict=True):
            near = Near(found.cosine[i], found.slots[i], found.usual[i])
            self.notice(near)
            standing = self._standings.of(vectors[i], origin.tenant)
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
        origin = Origin(group, tenant)
        slot = self._running.take_slot(key, origin)
        if output_tokens == 0 and not finished:
            return False  # aborted before its first token: must not push a record out
        tokens = min(int(output_tokens), self.grid.max_tokens)
        vector = self._sane(np.asarray(vector)[np.newaxis])[0]
        self._learn(vector, tokens, finished, origin, slot)
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
        origin = Origin(group, tenant)
        slot = self._running.take_slot(key, origin)
        vector = self._sane(np.asarray(vector)[np.newaxis])[0]
        log_tokens = scores.log_tokens(min(int(output_tokens), self.grid.max_tokens) + 1)
        standing = self._standings.of(vector, tenant)
        slot, _ = self._put(vector, log_tokens, False, origin, standing, slot)
        score = self._note_scale(origin).score(log_tokens) - self.config.trend_share * standing
        self._running.begin(key, slot, origin, score, self._records.has_tenants)

    def forget_running(self, key: str) -> None:
        """The request runs no longer; its record stays, as longer than so far."""
        self._running.end(key)

    def prior(self, group: str = "", tenant: str = "") -> LengthDistribution:
        """What is expected of a prompt that nothing is known of."""
        origin = Origin(group, tenant)
        law = scores.law(self._prior(origin), 0.0, self._believed(origin), self._log_edges)
        return LengthDistribution(self.grid, law)

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
        standing = self._standings.of(vector, origin.tenant)
        believed = self._believed(origin)
        score = believed.score(log_tokens)
        say = self._say.of(origin.tenant)
        _, copies = self._put(vector, log_tokens, finished, origin, standing, slot)
        left = score - self.config.trend_share * standing
        held, in_group = self._records.origins.held(origin), self._records.groups.held(origin.group)
        # What moves the scale says little about scores in it; what is unfinished does not move it.
        weight = say * (self._scales.certainty if finished else 1.0)
        self._priors.learn(origin, left, finished, weight, held, in_group)
        if finished:
            self._scales.learn(origin, log_tokens, score - standing, say)
        scale = self._note_scale(origin)
        if finished:
            self._scales.moved(origin, (scale.centre - believed.centre) / scale.spread)
            self._standings.learn(vector, score, origin, copies, say)
        self._standings.refresh()

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

    def _believed(self, origin: Origin) -> Scale:
        return self._scales.of(origin, self._records.has_tenants)

    def _prior(self, origin: Origin) -> Floats:
        return self._priors.of(origin, self._records.has_tenants)

    def _note_scale(self, origin: Origin) -> Scale:
        scale = self._believed(origin)
        self._records.note_scale(origin, scale)
        return scale

    def _one(self, place: Vectors, near: Near, standing: float, origin: Origin) -> Floats:
        """The distribution of one request, float64[m]: the prior of where it comes from, then what
        other tenants' records tell, its own tenant's neighbours, and draws of the very prompt."""
        own = self._slots.held(origin.tenant)
        asked = Asked(origin, standing, self._scales.shift(origin))
        evidence: list[scores.Evidence] = []
        if own < len(self._history):
            if own < OWN_RECORDS:
                evidence += self._weighing.foreign(asked, near, own)
            near = self._nearest_own(place, origin.tenant)
        evidence += self._weighing.own(asked, near, own)
        moved = self.config.trend_share * standing + asked.shift
        scale = self._records.noted_scale(origin) or self._believed(origin)
        return scores.law(self._prior(origin), moved, scale, self._log_edges, evidence)

    def _nearest_own(self, place: Vectors, tenant: str) -> Near:
        """Of the tenant's newest records, so that no others can crowd them out."""
        slots = self._slots.newest(tenant, NEWEST_OWN)
        cosine = self._history.cosines(place, slots)
        usual = float(cosine.mean()) if len(slots) else 0.0
        best = np.lexsort((slots, -cosine))[: self.config.neighbours]
        return Near(cosine[best], slots[best], usual)

    def _places(self, vectors: Vectors) -> Vectors:
        """Where prompts lie for their neighbours, [n, embedder.search_dim + 2]: by meaning, and by
        length as an angle."""
        config, dim = self.config, self.embedder.search_dim
        angle = config.length_frequency * log_chars(vectors[:, self.embedder.dim :])
        say = math.sqrt(config.length_weight)
        places = np.empty((len(vectors), dim + 2), dtype=np.float32)
        places[:, :dim] = unit_rows(vectors[:, :dim])
        places[:, dim] = say * np.cos(angle)
        places[:, dim + 1] = say * np.sin(angle)
        return places

    def _sane(self, vectors: Vectors) -> Vectors:
        """Meaning of length 1 or 0, features that are numbers: what came from elsewhere may not
        spoil the history."""
        rest = vectors[:, self.embedder.dim :]
        if not np.isfinite(rest).all():
            rest = np.nan_to_num(rest, nan=0.0, posinf=0.0, neginf=0.0)
        rest = np.minimum(np.maximum(rest, -10.0), 10.0)
        meaning = unit_rows(vectors[:, : self.embedder.dim])
        return np.concatenate([meaning, rest], axis=1, dtype=np.float32)
