"""What the whole history says about a prompt's direction: a linear trend of ln(output length).

Neighbours tell about prompts like theirs; a trend also carries over to phrasings that nobody used
before. It is ridge regression, kept up to date record by record, with older records fading so that
it follows the traffic. It predicts nothing by itself: it tells which neighbours to trust.
"""

from __future__ import annotations

import math

import numpy as np

from sagesched.lengths import Floats
from sagesched.predict.base import Vectors

PENALTY = 10.0
"""Ridge penalty, in records."""
MIN_RECORDS = 32
"""With fewer finished requests there is no trend."""
REFIT_SHARE = 16
"""The trend is fitted anew when the records have grown by a 16th (and 16 at least)."""


class Trend:
    """Ridge regression of ln(output tokens) on prompt vectors.

    Args:
        dim: length of the vectors.
        window: a record's weight falls to 1/e over this many later ones.
    """

    def __init__(self, dim: int, window: int) -> None:
        self._fade = math.exp(-1.0 / window)
        self._gram = np.zeros((dim, dim))  # sum of v v'
        self._cross = np.zeros(dim)  # sum of v y
        self._sum = np.zeros(dim)  # sum of v
        self._count = 0.0
        self._total = 0.0  # sum of y
        self._squares = 0.0  # sum of y^2
        self._since_fit = 0
        self._slope: Floats = np.zeros(dim)
        self._centre = 0.0  # of the records along the slope
        self._deviation = 1.0  # of ln(length)
        self.explained = 0.0
        """Variance of the history's own standings: the share of ln(length) that is explained."""

    def learn(self, vector: Vectors, output_tokens: int) -> None:
        """Take in a finished request: its vector[dim], and its length of at least 1 token."""
        v, y = vector.astype(np.float64), math.log(output_tokens)
        for kept in (self._gram, self._cross, self._sum):
            kept *= self._fade
        self._gram += np.outer(v, v)
        self._cross += y * v
        self._sum += v
        self._count = self._fade * self._count + 1.0
        self._total = self._fade * self._total + y
        self._squares = self._fade * self._squares + y * y
        self._since_fit += 1
        enough = self._count >= MIN_RECORDS - 1  # what has faded does not count
        if enough and self._since_fit >= max(REFIT_SHARE, self._count / REFIT_SHARE):
            self._fit()

    def standing(self, vectors: Vectors) -> Floats:
        """Where vectors[..., dim] stand on the trend, in standard deviations of ln(length).

        Lengths that have nothing to do with the prompts give a flat trend, so standings near
        zero; they are zero while there is no trend.
        """
        # Not a matrix product, whose rounding depends on the number of rows.
        along = np.einsum("...d,d->...", vectors.astype(np.float64), self._slope)
        return np.asarray((along - self._centre) / self._deviation, dtype=np.float64)

    def _fit(self) -> None:
        self._since_fit = 0
        mean_y, mean_v = self._total / self._count, self._sum / self._count
        penalised = self._gram + PENALTY * np.eye(len(self._sum))
        slope = np.linalg.solve(penalised, self._cross - mean_y * self._sum)
        self._slope = slope.astype(np.float64)
        self._centre = float(self._slope @ mean_v)
        second = float(self._slope @ self._gram @ self._slope) / self._count
        variance = max(self._squares / self._count - mean_y**2, 1e-6)
        self._deviation = math.sqrt(variance)
        self.explained = max(second - self._centre**2, 0.0) / variance
