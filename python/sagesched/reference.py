"""The index written the slow, obvious way: what every kernel is tested against.

Independent of the compiled core, O(m^2) a row, and without input checks: give it what
:func:`sagesched.gittins.gittins_index` accepts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sagesched.cost import CostModel

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

OVERRUN_SHARE = 1e-12
"""A row with at most this share of its mass beyond the age has outlived its distribution."""

TAIL_EXPONENT = 1.5
"""Continuation of an outlived row: P(O > x | O > a) = (max(a, 1) / x) ** TAIL_EXPONENT."""

SMALLEST_INDEX = float(np.finfo(np.float64).tiny)
"""A cost of 0 (prefill alone is charged, and all of it is cached) counts as this."""


def gittins_index(
    pmf: ArrayLike,
    support: ArrayLike,
    age: ArrayLike,
    prompt_len: ArrayLike,
    cached_len: ArrayLike = 0,
    cost: CostModel = CostModel(),
) -> NDArray[np.float64]:
    """Same arguments and result as :func:`sagesched.gittins.gittins_index`."""
    rows = np.asarray(pmf, dtype=np.float64)
    edges = np.asarray(support, dtype=np.float64)
    ages, prompts, cached = (
        np.broadcast_to(np.asarray(value, dtype=np.float64), len(rows))
        for value in (age, prompt_len, cached_len)
    )
    result = np.empty(len(rows))
    for i, row in enumerate(rows):
        lengths, p = remaining_lengths(row, edges, float(ages[i]))
        r = [
            cost.remaining(x, float(ages[i]), float(prompts[i]), float(cached[i])) for x in lengths
        ]
        result[i] = max(index_of_costs(np.array(r), p), SMALLEST_INDEX)
    return result


def remaining_lengths(
    row: NDArray[np.float64], edges: NDArray[np.float64], age: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Output lengths beyond the age ``[n]`` and their conditional probabilities ``[n]``."""
    later = edges > age
    lengths, mass = edges[later], row[later]
    if mass.sum() > max(OVERRUN_SHARE * row.sum(), SMALLEST_INDEX):
        return lengths, mass / mass.sum()
    if not len(lengths):
        return np.array([2 * age]), np.ones(1)
    survival = np.minimum(max(age, 1.0) / lengths, 1.0) ** TAIL_EXPONENT
    survival[-1] = 0.0  # the rest of the mass ends at the last edge
    return lengths, -np.diff(survival, prepend=1.0)


def index_of_costs(r: NDArray[np.float64], p: NDArray[np.float64]) -> float:
    """min over D in r of E[min(X, D)] / P(X <= D), for X = r with probability p, r ascending."""
    ratios = []
    for k, limit in enumerate(r):
        finished = p[: k + 1].sum()
        if finished > 0:
            ratios.append(float((p * np.minimum(r, limit)).sum() / finished))
    return min(ratios)
