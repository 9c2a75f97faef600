"""Scores of length distributions against what the lengths turned out to be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sagesched.lengths import Floats, LengthGrid

Lengths = NDArray[np.int64]

MOST_PAIRED = 2000
"""Members that Kendall's tau is taken over: all pairs are looked at."""


@dataclass(frozen=True)
class Score:
    """Of one method on one set of requests.

    Attributes:
        crps: mean continuous ranked probability score, tokens; of a point forecast, the mean error.
        pinball90: mean pinball loss of the 0.9 quantile, tokens.
        tau: Kendall's tau-b of the predicted mean and the real length.
        coverage90: share of lengths within the central 90 % interval.
        n: lengths scored.
    """

    crps: float
    pinball90: float
    tau: float
    coverage90: float
    n: int


def crps(grid: LengthGrid, pmfs: Floats, lengths: Lengths) -> Floats:
    """[n] of pmfs[n, m], each on the right edges of the bins, for lengths[n]; in tokens.

    The integral over x of (P(O <= x) - 1{length <= x})^2 (Gneiting and Raftery, JASA 102, 2007).
    """
    left = np.concatenate(([0.0], grid.edges[:-1]))
    below = np.concatenate((np.zeros((len(pmfs), 1)), np.cumsum(pmfs, axis=1)[:, :-1]), axis=1)
    split = np.clip(lengths[:, np.newaxis], left, grid.edges)
    result: Floats = (below**2 * (split - left) + (1 - below) ** 2 * (grid.edges - split)).sum(1)
    return result


def places(grid: LengthGrid, pmfs: Floats, lengths: Lengths) -> Floats:
    """[n] where each length stands in its distribution (PIT), 0 to 1: the middle of its bin."""
    cdf = np.cumsum(pmfs, axis=1)
    bins = np.minimum(np.searchsorted(grid.edges, lengths), len(grid) - 1)
    rows = np.arange(len(pmfs))
    result: Floats = cdf[rows, bins] - 0.5 * pmfs[rows, bins]
    return result


def kendall_tau(first: Floats, second: Floats) -> float:
    """Tau-b over at most 2,000 members, evenly taken; 0 where one side is constant."""
    some = np.unique(np.linspace(0, len(first) - 1, min(len(first), MOST_PAIRED)).astype(int))
    # Differences far below a token order nothing.
    a, b = (np.sign(x[some, np.newaxis] - x[some]) for x in (first.round(3), second))
    pairs = np.sqrt(np.count_nonzero(a) * np.count_nonzero(b))
    return float((a * b).sum() / pairs) if pairs else 0.0


def pinball(grid: LengthGrid, pmfs: Floats, lengths: Lengths, level: float) -> Floats:
    """[n] loss of the quantile at a level: what over- and underestimates cost, tokens."""
    at = np.minimum((np.cumsum(pmfs, axis=1) < level).sum(axis=1), len(grid) - 1)
    error = lengths - grid.edges[at]
    result: Floats = np.maximum(level * error, (level - 1.0) * error)
    return result


def score(grid: LengthGrid, pmfs: Floats, lengths: Lengths) -> Score:
    """All scores of pmfs[n, m] for lengths[n]."""
    place = places(grid, pmfs, lengths)
    return Score(
        float(crps(grid, pmfs, lengths).mean()),
        float(pinball(grid, pmfs, lengths, 0.9).mean()),
        kendall_tau(pmfs @ grid.edges, lengths.astype(np.float64)),
        float(((place > 0.05) & (place < 0.95)).mean()),
        len(lengths),
    )
