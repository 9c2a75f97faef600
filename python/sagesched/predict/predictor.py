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
from sagesched.predict.base import Embedder, Vectors, unit_rows
from sagesched.predict.defaults import cold_start_pmf
from sagesched.predict.history import History, Neighbours
from sagesched.predict.outcomes import Outcomes
from sagesched.predict.survival import posterior
from sagesched.predict.trend import Trend


@dataclass(frozen=True)
class PredictorConfig:
    """How neighbours are weighted; the values were chosen by bench/bench_predict_quick.py."""

    neighbours: int = 64
    sharpness: float = 2.0
    """A neighbour's weight is its similarity above what is usual in the history, as a share of
    the nearest record's, to this power."""
    full_trust_gap: float = 0.2
    """With a smaller gap the nearest record is hardly nearer than any other: weights shrink."""
    trend_weight: float = 0.4
    """How much less similar a neighbour counts that stands one standard deviation of ln(length)
    apart on the history's trend."""
    prior_strength: float = 0.5
    """Weight of the history-wide distribution in a prediction, in neighbours."""
    cold_start_strength: float = 8.0
    """Weight of the cold-start default in the history-wide distribution, in finished requests."""
    length_weight: float = 0.25
    """Say of the prompt's length in similarity, where that of the meaning is 1."""
    length_frequency: float = 0.6
    """Radians per unit of ln(characters): lengths a factor 190 apart (pi / 0.6) are opposites."""

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise ValueError(f"PredictorConfig: neighbours must be >= 1, got {self.neighbours}")
        for name in ("sharpness", "full_trust_gap", "prior_strength", "cold_start_strength"):
            if not 0.0 < getattr(self, name) < np.inf:
                raise ValueError(f"PredictorConfig: {name} must be positive and finite")


_MIN_GAP = 1e-6  # no division by zero where nothing is nearer than usual


class LengthPredictor:
    """Learns from finished requests, predicts the output length of new ones. Not thread-safe.

    Args:
        embedder: turns prompts into vectors.
        grid: the bins of every distribution.
        capacity: number of most recent requests that count.
        config: how neighbours are weighted.
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
        self.dim = embedder.dim + 2  # the embedder's, and the prompt's length as an angle
        self._history = History(self.dim, capacity)
        self._outcomes = Outcomes(grid, capacity)
        self._trend = Trend(self.dim, capacity)
        self._cold_start = cold_start_pmf(grid)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of the prompts, float32[n, self.dim], of length 1."""
        meaning = self.embedder.embed(texts)
        log_chars = np.log1p(np.array([len(text) for text in texts], dtype=np.float64))
        angle = self.config.length_frequency * log_chars
        size = np.sqrt(self.config.length_weight) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return unit_rows(np.concatenate([meaning, size], axis=1))

    def predict_from(self, vectors: Vectors) -> list[LengthDistribution]:
        """Length distributions for vectors[n, self.dim] that `embed` made.

        Raises:
            ValueError: the array has another shape.
        """
        vectors = np.asarray(vectors, dtype=np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise ValueError(f"predict_from: expected shape [n, {self.dim}], got {vectors.shape}")
        vectors = unit_rows(vectors)
        neighbours = self._history.nearest(vectors, self.config.neighbours)
        similarity, usual = self._similarity(vectors, neighbours)
        weights = self._weights(similarity, usual)
        events, censored = self._outcomes.gather(neighbours.slots, weights)
        rows = posterior(events, censored, self._prior_pmf(), self.config.prior_strength)
        return [LengthDistribution(self.grid, row) for row in rows]

    def record(self, vector: Vectors, output_tokens: int, finished: bool) -> bool:
        """Learn how long the output of a prompt was; False for an outcome that tells nothing.

        Args:
            vector: of the prompt, from `embed`.
            output_tokens: tokens produced; above the grid's maximum it counts as the maximum.
            finished: False where the model did not end by itself (aborted, disconnected, stopped
                at max_new_tokens): then the output is known to be longer than `output_tokens`.

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
        slot = self._history.append(vector)
        self._outcomes.put(slot, int(output_tokens), finished)
        if finished and output_tokens > 0:
            self._trend.learn(self._history.vectors(slot), min(output_tokens, self.grid.max_tokens))
        return True

    def prior(self) -> LengthDistribution:
        """The history-wide distribution; the cold-start default while nothing has finished."""
        return LengthDistribution(self.grid, self._prior_pmf())

    @property
    def history_size(self) -> int:
        """Number of records, at most the capacity."""
        return len(self._history)

    def _prior_pmf(self) -> Floats:
        events, censored = self._outcomes.totals()
        return posterior(events, censored, self._cold_start, self.config.cold_start_strength)

    def _similarity(
        self, vectors: Vectors, neighbours: Neighbours
    ) -> tuple[Floats, NDArray[np.float64]]:
        """Similarity of each neighbour [q, k], and the usual one in the history [q].

        Cosine, less a penalty on neighbours that stand elsewhere on the trend; the penalty's mean
        over the history, where standings have mean 0, comes off the usual one.
        """
        own = self._trend.standing(vectors)
        theirs = self._trend.standing(self._history.vectors(neighbours.slots))
        penalty = self.config.trend_weight * (theirs - own[:, np.newaxis]) ** 2
        usual_penalty = self.config.trend_weight * (self._trend.explained + own**2)
        usual = self._history.usual_similarity(vectors) - usual_penalty
        return neighbours.cosine.astype(np.float64) - penalty, usual

    def _weights(self, similarity: Floats, usual: NDArray[np.float64]) -> Floats:
        """Weights [q, k] in 0..1, from similarity [q, k] relative to what is usual [q].

        Relative, because embedders differ in the similarity of unrelated texts (0.03 to 0.5).
        """
        if similarity.shape[1] == 0:
            return np.zeros(similarity.shape)
        nearest = similarity.max(axis=1, keepdims=True)
        gap = np.maximum(nearest - usual[:, np.newaxis], 0.0)
        excess = np.maximum(similarity - usual[:, np.newaxis], 0.0) / np.maximum(gap, _MIN_GAP)
        trust = np.minimum(gap / self.config.full_trust_gap, 1.0)
        weights: Floats = trust * excess**self.config.sharpness
        return weights
