"""Distributions of standard scores on a fine grid, and how they become distributions of tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sagesched import _core
from sagesched.lengths import Floats
from sagesched.predict.defaults import DEGREES_OF_FREEDOM, student_t_cdf
from sagesched.predict.scale import Scale

MOST = 12.0
BINS = 1024
WIDTH = 2 * MOST / BINS
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


Evidence = tuple[Floats, Floats, NDArray[np.bool_], float]
"""Of records [k] their scores, their weights, and whether they are finished or only known to be
longer; and the strength of what is believed without them."""


def law(
    prior: Floats,
    shift: float,
    scale: Scale,
    log_edges: Floats,
    evidence: Sequence[Evidence] = (),
) -> Floats:
    """A prior, moved by so many scores and updated by each evidence in turn, in tokens.

    Args:
        prior: [BINS] of the scores.
        shift: scores that it moves up.
        scale: between scores and ln(tokens).
        log_edges: [m] ln of the right edges of the result's bins; what lies beyond stops there.
        evidence: see `Evidence`; the update is `sagesched.predict.survival.posterior`.

    Returns:
        float64[m], positive, sums to 1.
    """
    at = (log_edges - scale.centre) / scale.spread
    return _core.length_law(MOST, prior, shift, at, list(evidence))
