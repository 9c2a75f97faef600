"""Predicted output lengths against the real ones, in the tokenizer process.

For each request that ended by itself or at its limit: where in its predicted distribution the
length fell. If predictions are calibrated, each tenth of the distribution gets a tenth of the
requests (a probability integral transform; a bin that spans several tenths is shared out among
them, after Czado, Gneiting and Held, Biometrics 65, 2009).
"""

from __future__ import annotations

import logging
from time import perf_counter

import numpy as np

from sagesched.lengths import LengthDistribution, LengthGrid

DECILES = 10
LOG_EVERY_S = 60.0
MOST = 100_000
"""Requests remembered: far more than run at once, so some ended unseen."""

logger = logging.getLogger("sagesched")


class Calibration:
    """Counts since the start.

    Attributes:
        ended: requests compared.
        deciles: of their predicted distributions, how many lengths fell there; sums to ``ended``.
        predicted, real: output tokens, summed.
    """

    def __init__(self) -> None:
        self.ended = 0
        self.deciles = [0.0] * DECILES
        self.predicted = 0.0
        self.real = 0
        self._expected: dict[str, LengthDistribution] = {}
        self._logged_at = perf_counter()
        self._logged = 0

    def expect(self, rid: str, predicted: LengthDistribution | None) -> None:
        """A request leaves for the scheduler."""
        if predicted is None:
            return
        if len(self._expected) >= MOST:
            self._expected.clear()
        self._expected[rid] = predicted

    def forget(self, rid: str) -> None:
        """It was aborted, or never left."""
        self._expected.pop(rid, None)

    def end(self, rid: str, tokens: int) -> None:
        """It ended by itself or at its limit, after as many output tokens."""
        predicted = self._expected.pop(rid, None)
        if predicted is None:
            return
        self.ended += 1
        self.predicted += mean_of_middles(predicted)
        self.real += tokens
        for decile, share in enumerate(shares(predicted, tokens)):
            self.deciles[decile] += share
        self._log()

    @property
    def coverage(self) -> float:
        """Share of lengths between the 10th and the 90th percentile of what was predicted."""
        return sum(self.deciles[1:-1]) / max(1, self.ended)

    def _log(self) -> None:
        now = perf_counter()
        if now - self._logged_at < LOG_EVERY_S:
            return
        logger.info(
            "sagesched: predictions of %d requests that ended (%d since the last such line): "
            "%.0f %% of the lengths within P10 to P90 (80 would be right), mean %.0f tokens where "
            "%.0f were predicted",
            self.ended,
            self.ended - self._logged,
            100 * self.coverage,
            self.real / self.ended,
            self.predicted / self.ended,
        )
        self._logged_at, self._logged = now, self.ended


def shares(predicted: LengthDistribution, tokens: int) -> list[float]:
    """How much of one request each tenth of its predicted distribution gets; sums to 1."""
    bin_ = predicted.grid.bin_of(tokens)
    mass = float(predicted.pmf[bin_])
    below = min(float(predicted.pmf[:bin_].sum()), 1.0)
    if mass <= 0.0:
        found = [0.0] * DECILES
        found[min(int(below * DECILES), DECILES - 1)] = 1.0
        return found
    edges = np.linspace(0.0, 1.0, DECILES + 1)
    inside = np.minimum(edges[1:], below + mass) - np.maximum(edges[:-1], below)
    inside = np.maximum(inside, 0.0)
    total = float(inside.sum())
    if total <= 0.0:  # all of it beyond 1 by rounding
        return [0.0] * (DECILES - 1) + [1.0]
    return [float(value) for value in inside / total]


def mean_of_middles(predicted: LengthDistribution) -> float:
    """Mean length with a bin's mass at the middle of its tokens, where the real ones lie."""
    return float(predicted.pmf @ _middles(predicted.grid))


def _middles(grid: LengthGrid) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    lower = np.concatenate(([0.0], grid.edges[:-1])) + 1.0
    return (lower + grid.edges) / 2
