"""Who is likely to be among the longest: those whose latency is the tail.

The mean wants a request moved by what it holds up, the tail wants those that will be longest left
where they are: their latency is the P99 whatever is done for the others. To first order, in a deep
backlog, a request that is moved by ``f`` is delayed by ``f`` less the mean of ``f`` over the work
that waits. So the mean pays for a move in proportion to a request's work, the tail in proportion to
its chance to be among the longest; what is gained most cheaply is the delay of those that are long,
but not likely to be the longest. Decision 69.

Where the order takes nothing from the longest, since it does not know them, and where all wait
long, nothing is given back (``Keys.spared``): there a lead would only move long requests before
others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sagesched._core import exact_sum

LONGEST = 0.05
"""The share of requests that is the tail."""
LEAD = 0.5
"""What is taken off the logarithm of an index of who is likeliest to be one of the longest."""
NONE_UNTIL, ALL_FROM = 1.0, 4.0
"""Tail shares between which it grows."""
STEPS = 8
"""In which it grows: of two equal requests the first must not be passed for a share that moved."""


def tail_share(pmf: NDArray[np.float64], traffic: NDArray[np.float64]) -> float:
    """How many times likelier than the average request one is to be among the longest.

    Args:
        pmf: ``[m]`` mass of its output lengths.
        traffic: ``[m]`` the same of the average request.

    Both are added up bin by bin: ranks on different processors must get the same bits.
    """
    reached = np.cumsum(traffic, dtype=np.float64)
    first = int(np.searchsorted(reached, (1.0 - LONGEST) * reached[-1]))
    average = exact_sum(traffic[first:])
    return exact_sum(pmf[first:]) / average if average > 0 else 1.0


def lead_of(share: float) -> float:
    """What a request of that tail share is given back of its way, in units of ``ln(index)``, where
    ``Keys.spared`` is 1."""
    part = min(max((share - NONE_UNTIL) / (ALL_FROM - NONE_UNTIL), 0.0), 1.0)
    return LEAD * round(STEPS * part) / STEPS
