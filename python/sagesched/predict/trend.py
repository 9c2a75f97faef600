"""What the whole history says about a prompt: a linear trend of its length's standard score.

Neighbours tell about prompts like theirs; a trend also carries over to phrasings that nobody used
before. It is ridge regression on the embedding and on the prompt's features, kept up to date record
by record, with older records fading so that it follows the traffic.
"""

from __future__ import annotations

import math

import numpy as np

from sagesched.lengths import Floats
from sagesched.predict.base import Vectors
from sagesched.predict.one_thread import one_blas_thread

PENALTY = 10.0
"""Ridge penalty on the embedding, in records."""
FEATURE_SHARE = 2.0
"""Features are penalised in their own units, and so that all together could weigh this much."""
LEAST_VARIANCE = 0.01
"""A feature that hardly ever occurs is not believed to be worth more than one of this variance."""
MIN_RECORDS = 32
"""With fewer finished requests there is no trend."""
MOST_GROWN = 1e6
REFIT_SHARE = 16
"""The trend is fitted anew when the records have grown by a 16th (and 16 at least)."""


class Trend:
    """Ridge regression of standard scores on prompt vectors.

    Args:
        dim: length of the vectors.
        features: how many of the last columns are features; those before are an embedding.
        window: a record's weight falls to 1/e over this many later ones.
    """

    def __init__(self, dim: int, features: int, window: int) -> None:
        self._growth = math.exp(1.0 / window)
        self._now = 1.0  # weight of the next record; all sums are in units of it
        self._features = features
        self._gram = np.zeros((dim, dim))  # sum of v v'
        self._cross = np.zeros(dim)  # sum of v y
        self._sum = np.zeros(dim)  # sum of v
        self._count = 0.0
        self._total = 0.0  # sum of y
        self._since_fit = 0
        self._inverse: Floats | None = None
        self._slope: Floats = np.zeros(dim)
        self._mean_vector: Floats = np.zeros(dim)
        self._mean_score = 0.0
        self._centre = 0.0  # of the records along the slope

    def learn(self, vector: Vectors, score: float, weight: float = 1.0) -> bool:
        """Take in a finished request: its vector[dim], and its score; True if fitted anew."""
        self._now *= self._growth  # later records weigh more: what fading comes to
        if self._now > MOST_GROWN:
            self._rescale()
        v, weight = vector.astype(np.float64), weight * self._now
        self._gram += np.outer(weight * v, v)
        self._cross += weight * score * v
        self._sum += weight * v
        self._count += weight
        self._total += weight * score
        self._since_fit += 1
        count = self._count / self._now
        enough = count >= MIN_RECORDS - 1  # what has faded does not count
        if not (enough and self._since_fit >= max(REFIT_SHARE, count / REFIT_SHARE)):
            return False
        self._fit()
        return True

    def start(self, vectors: Vectors, scores: Floats, weights: Floats) -> None:
        """Take in finished requests [n] all at once, as equally old."""
        v = vectors.astype(np.float64)
        weighted = v * weights[:, np.newaxis]
        with one_blas_thread():
            self._gram += weighted.T @ v
        self._cross += np.einsum("n,nd->d", scores, weighted)
        self._sum += weighted.sum(axis=0)
        self._count += float(weights.sum())
        self._total += float(weights @ scores)
        if self._count >= MIN_RECORDS:
            self._fit()

    def _rescale(self) -> None:
        for kept in (self._gram, self._cross, self._sum):
            kept /= self._now
        self._count /= self._now
        self._total /= self._now
        self._now = 1.0

    def standing(self, vectors: Vectors) -> Floats:
        """Where vectors[..., dim] stand on the trend, in standard scores.

        Lengths that have nothing to do with the prompts give a flat trend, so standings near
        zero; they are zero while there is no trend.
        """
        # Not a matrix product, whose rounding depends on the number of rows.
        along = np.einsum("...d,d->...", vectors.astype(np.float64), self._slope)
        return np.asarray(along - self._centre, dtype=np.float64)

    def left_out(self, vectors: Vectors, scores: Floats) -> Floats:
        """Where records[n] would stand on a trend that had not seen their scores[n].

        A trend bends towards what it has learned; the records' own standings must not know their
        lengths, or neighbours would look better foretold than a new prompt is.
        """
        standing = self.standing(vectors)
        if self._inverse is None:
            return standing
        v = vectors.astype(np.float64) - self._mean_vector
        with one_blas_thread():
            along = v @ self._inverse
        pull = np.minimum(np.einsum("nd,nd->n", along, v), 0.9)
        return np.asarray((standing - pull * (scores - self._mean_score)) / (1.0 - pull))

    def _fit(self) -> None:
        self._since_fit = 0
        self._rescale()
        mean = self._mean_vector = self._sum / self._count
        self._mean_score = self._total / self._count
        gram = self._gram - np.outer(mean, self._sum)
        with one_blas_thread():
            inverse = np.linalg.inv(gram + np.diag(self._penalties(gram))).astype(np.float64)
        self._inverse = inverse
        self._slope = np.einsum("de,e->d", inverse, self._cross - self._mean_score * self._sum)
        self._centre = float(self._slope @ mean)

    def _penalties(self, gram: Floats) -> Floats:
        penalties = np.full(len(gram), PENALTY)
        if self._features:
            variance = np.diag(gram)[-self._features :] / self._count
            share = self._features / FEATURE_SHARE
            penalties[-self._features :] *= share * np.maximum(variance, LEAST_VARIANCE)
        return penalties
