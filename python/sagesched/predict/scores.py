"""Distributions of standard scores on a fine grid, and how they become distributions of tokens."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sagesched.lengths import Floats, LengthGrid
from sagesched.predict.defaults import DEGREES_OF_FREEDOM, student_t_cdf
from sagesched.predict.scale import Scale

MOST = 12.0
BINS = 1024
WIDTH = 2 * MOST / BINS
TRACE = 1e-12
"""Probability of what lies beyond the grid, or where rounding left none: nothing is impossible."""
EDGES: Floats = np.linspace(-MOST, MOST, BINS + 1)
"""Bins between -12 and 12 spreads; 1/43 of one each, so that a bin is some 2 % of a length."""


def log_tokens(tokens: float) -> float:
    """Where n tokens stand between n - 1 and n."""
    return math.log(max(tokens, 1.0) - 0.5)


def bins_of(scores: Floats) -> NDArray[np.int64]:
    """The bin of each score; the first or last one for what lies outside."""
    places = ((scores + MOST) / WIDTH).astype(np.int64)
    return np.minimum(np.maximum(places, 0), BINS - 1)


def cold_start() -> Floats:
    """float64[BINS], positive: Student's t, what log-t lengths are in standard scores."""
    cdf = student_t_cdf(EDGES, DEGREES_OF_FREEDOM)
    cdf[0], cdf[-1] = 0.0, 1.0
    return np.diff(cdf)


def shifted(pmf: Floats, by: float) -> Floats:
    """The same distribution, that much further up; what leaves the grid stays at its end."""
    cdf = np.concatenate(([0.0], np.cumsum(pmf)))
    moved = np.interp(EDGES - by, EDGES, cdf)
    moved[0], moved[-1] = 0.0, cdf[-1]
    result: Floats = np.maximum(np.diff(moved), TRACE)
    result /= result.sum()
    return result


def to_tokens(pmf: Floats, scale: Scale, grid: LengthGrid) -> Floats:
    """float64[m] on a grid of tokens; what lies beyond its end stops there."""
    cdf = np.concatenate(([0.0], np.cumsum(pmf)))
    cdf /= cdf[-1]
    at = (np.log(grid.edges) - scale.centre) / scale.spread
    below = np.interp(at, EDGES, cdf)
    below[-1] = 1.0
    found = np.maximum(np.diff(below, prepend=0.0), TRACE)
    result: Floats = found / found.sum()
    return result
