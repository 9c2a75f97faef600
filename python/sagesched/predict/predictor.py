"""The length predictor: prompt -> neighbours in the history -> length distribution.

Everything follows from the records in the order they came: no random numbers, no clock, and a
prediction does not depend on the batch it is made in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sagesched.lengths import Floats, LengthDistribution, LengthGrid
from sagesched.predict import scores
from sagesched.predict.base import Embedder, Vectors, unit_rows
from sagesched.predict.features import FEATURES, Options, feature_rows, log_chars
from sagesched.predict.history import History, Neighbours
from sagesched.predict.priors import Priors
from sagesched.predict.records import Records
from sagesched.predict.scale import Scales
from sagesched.predict.survival import posterior
from sagesched.predict.trend import Trend


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
        self._history = History(embedder.dim + 2, capacity)
        self._records = Records(self.dim, capacity)
        memory = max(1, capacity // FADES_IN)
        self._scales = Scales(memory)
        self._trend = Trend(self.dim, FEATURES, capacity)
        self._priors = Priors(memory)
        self._to_restand = 0  # records from the first one on that stand on an older trend

    def embed(self, texts: Sequence[str], options: Sequence[Options] | None = None) -> Vectors:
        """Vectors of the prompts, float32[n, self.dim].

        Args:
            texts: the prompts.
            options: what each request asks of its answer; nothing where absent.
        """
        meaning = self.embedder.embed(texts)
        asked = None if options is None else list(options)
        return np.concatenate([meaning, feature_rows(list(texts), asked)], axis=1)

    def predict_from(
        self, vectors: Vectors, groups: Sequence[str] | None = None
    ) -> list[LengthDistribution]:
        """Length distributions for vectors[n, self.dim] that `embed` made.

        Args:
            vectors: of the prompts.
            groups: the group of each request (model, adapter, route), "" where absent.

        Raises:
            ValueError: the array has another shape.
        """
        vectors = np.asarray(vectors, dtype=np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise ValueError(f"predict_from: expected shape [n, {self.dim}], got {vectors.shape}")
        vectors = self._sane(vectors)
        places = self._places(vectors)
        found = self._history.nearest(places, self.config.neighbours)
        usual = self._history.usual_similarity(places)
        standing = self._trend.standing(vectors)
        wanted = [""] * len(vectors) if groups is None else groups
        return [
            LengthDistribution(
                self.grid,
                self._one(
                    Neighbours(found.cosine[i], found.slots[i]), usual[i], standing[i], group
                ),
            )
            for i, group in enumerate(wanted)
        ]

    def record(self, vector: Vectors, output_tokens: int, finished: bool, group: str = "") -> bool:
        """Learn how long the output of a prompt was; False for an outcome that tells nothing.

        Args:
            vector: of the prompt, from `embed`.
            output_tokens: tokens produced; above the grid's maximum it counts as the maximum.
            finished: False where the model did not end by itself (aborted, disconnected, stopped
                at max_new_tokens): then the output is known to be longer than `output_tokens`.
            group: whatever shifts all lengths: model, adapter, route.

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
        self._learn(self._sane(np.asarray(vector)[np.newaxis])[0], tokens, finished, group)
        return True

    def prior(self, group: str = "") -> LengthDistribution:
        """What is expected of a prompt that nothing is known of."""
        pmf = scores.to_tokens(self._priors.of(group), self._scales.of(group), self.grid)
        return LengthDistribution(self.grid, pmf)

    def nearest(self, vectors: Vectors) -> Neighbours:
        """The records that a prediction looks at, of vectors[n, self.dim]."""
        return self._history.nearest(self._places(vectors), self.config.neighbours)

    @property
    def history_size(self) -> int:
        """Number of records, at most the capacity."""
        return len(self._history)

    def _learn(self, vector: Vectors, tokens: int, finished: bool, group: str) -> None:
        # Unfinished at n tokens means n + 1 or more.
        log_tokens = scores.log_tokens(tokens if finished else tokens + 1)
        standing = float(self._trend.standing(vector))
        score = self._scales.of(group).score(log_tokens)
        slot = self._history.append(self._places(vector[np.newaxis])[0])
        copies = self._records.put(slot, vector, log_tokens, finished, group, standing)
        self._priors.learn(group, score - self.config.trend_share * standing, finished)
        if not finished:
            return
        # Another draw of a known prompt tells the trend little; a flood of them, nothing.
        if self._trend.learn(vector, score, 1.0 / copies):
            self._to_restand = len(self._history)
        self._restand()
        self._scales.learn(group, log_tokens, score - standing)

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
        """Standard scores of records[...], each in its own group's scale."""
        group, found = self._records.group[slots], self._records.log_tokens[slots]
        for number in set(group.tolist()):
            scale, of = self._scales.of(self._records.group_names[number]), group == number
            found[of] = (found[of] - scale.centre) / scale.spread
        return found

    def _one(self, found: Neighbours, usual: float, standing: float, group: str) -> Floats:
        """The distribution of one request, float64[m]: the prior, its neighbours, its own draws."""
        config, records, slots = self.config, self._records, found.slots
        shift = self._scales.shift(group)
        pmf = scores.shifted(self._priors.of(group), config.trend_share * standing + shift)
        if len(slots):
            score = self._scores(slots)
            theirs = records.standing[slots]
            corrected = score + config.trend_share * (standing - theirs) + shift
            finished, ours = records.finished[slots], self._group_weight(group, slots)
            same = found.cosine >= SAME_PROMPT
            others = np.where(same, 0.0, ours) * self._nearness(found.cosine, same, usual)
            others *= self._on_trend(theirs - standing)
            pmf = _evidence(corrected, _effective(others), finished, pmf, config.prior_strength)
            if same.any():
                draws = np.where(same, ours, 0.0)
                pmf = _evidence(score, draws, finished, pmf, config.repeat_strength)
        return scores.to_tokens(pmf, self._scales.of(group), self.grid)

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

    def _group_weight(self, group: str, slots: NDArray[np.int64]) -> Floats:
        same_group = self._records.group[slots] == self._records.group_number(group)
        return np.where(same_group, 1.0, self.config.other_group)

    def _places(self, vectors: Vectors) -> Vectors:
        """Where prompts lie for their neighbours, [n, embedder.dim + 2]: by meaning, and by length
        as an angle."""
        meaning, features = vectors[:, : self.embedder.dim], vectors[:, self.embedder.dim :]
        angle = self.config.length_frequency * log_chars(features)
        length = np.sqrt(self.config.length_weight) * np.stack([np.cos(angle), np.sin(angle)], 1)
        return np.concatenate([meaning, length.astype(np.float32)], axis=1)

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


def _evidence(
    score: Floats, weights: Floats, finished: NDArray[np.bool_], prior: Floats, strength: float
) -> Floats:
    """The posterior on the grid of scores, after weighted outcomes [k]."""
    bins = scores.bins_of(score)
    events, censored = (
        np.bincount(bins, np.where(of, weights, 0.0), scores.BINS).astype(np.float64)
        for of in (finished, ~finished)
    )
    return posterior(events, censored, prior, strength)
