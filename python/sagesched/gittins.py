"""Gittins index of the remaining cost, and the engine that keeps requests in its order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from sagesched import _core
from sagesched._core import (
    UnknownHandleError,
    move_to_front,
    set_simd_level,
    simd_level,
    simd_levels,
)
from sagesched.cost import CostModel

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "IndexCurve",
    "RankEngine",
    "UnknownHandleError",
    "gittins_curve",
    "gittins_index",
    "move_to_front",
    "set_simd_level",
    "simd_level",
    "simd_levels",
]


@overload
def gittins_index(
    pmf: ArrayLike,
    support: ArrayLike,
    age: ArrayLike,
    prompt_len: ArrayLike,
    cached_len: ArrayLike = ...,
    cost: CostModel = ...,
    *,
    threads: int = ...,
    return_stop: Literal[False] = ...,
) -> NDArray[Any]: ...


@overload
def gittins_index(
    pmf: ArrayLike,
    support: ArrayLike,
    age: ArrayLike,
    prompt_len: ArrayLike,
    cached_len: ArrayLike = ...,
    cost: CostModel = ...,
    *,
    threads: int = ...,
    return_stop: Literal[True],
) -> tuple[NDArray[Any], NDArray[Any]]: ...


def gittins_index(
    pmf: ArrayLike,
    support: ArrayLike,
    age: ArrayLike,
    prompt_len: ArrayLike,
    cached_len: ArrayLike = 0,
    cost: CostModel = CostModel(),
    *,
    threads: int = 1,
    return_stop: bool = False,
) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
    """Gittins index of the remaining cost of each request; the smallest goes first.

    With ``r_k`` the cost from the age to edge ``k`` (see :class:`CostModel`), ``p_k`` the mass of
    bin ``k`` conditioned on the bins whose edge lies beyond the age, and ``F_k`` its running sum::

        G = min over k of ( sum_{i<=k} r_i p_i + r_k (1 - F_k) ) / F_k

    which is ``min over D of E[min(X, D)] / P(X <= D)`` for a discrete remaining cost ``X``
    (SageSched, arXiv 2603.07917, section 3.2).

    The arithmetic is that of ``pmf``: float32 where it is float32, else float64. With float32,
    ``support`` and ``age`` are rounded to float32 first (token counts up to 2**24 stay what they
    are). C and Fortran order are read without a copy; Fortran order is the faster one from some
    hundred bins on. Layout, SIMD level (:func:`simd_level`) and threads do not change a bit of
    the result.

    Args:
        pmf: ``[N, m]`` mass of each output length, finite and >= 0. Rows need not sum to 1.
        support: ``[m]`` right edge of each length bin in tokens, positive, strictly increasing;
            or ``[N, m]``, a support per row.
        age: ``[N]`` or scalar, output tokens produced so far.
        prompt_len: ``[N]`` or scalar, prompt tokens.
        cached_len: ``[N]`` or scalar, prompt tokens in the prefix cache; clamped to ``prompt_len``.
        cost: coefficients of the cost.
        threads: how many share the rows.
        return_stop: also return the edge that attains the minimum (the first one, if several do):
            the age up to which the index promises to serve.

    Returns:
        ``[N]``, float32 or float64 as said above, always finite and > 0 (a smaller cost than the
        smallest normal number counts as that number); with ``return_stop`` a pair of such arrays.

    A row that has nothing left to say (mass beyond the age at most 1e-12 of the row's total, or no
    mass at all) gets a heavy-tailed continuation: ``P(O > x | O > a) = (max(a, 1) / x)**1.5`` at
    the edges beyond the age, the rest of the mass on the last of them. With no edge beyond the age
    the output is taken to end at ``2 * age``.

    Raises:
        ValueError: NaN, infinite, negative or too large (above 2**40 tokens) input, an unordered
            support, a shape that does not fit; the message names row, column and value. An index
            too large for float32. A value of ``SAGESCHED_SIMD`` that is no level of this machine.
        TypeError: input that is not made of real numbers.
    """
    return _core.gittins_index(
        pmf,
        support,
        age,
        prompt_len,
        cached_len,
        cost.token,
        cost.memory,
        cost.prefill,
        threads,
        return_stop,
    )


def gittins_curve(
    pmf: ArrayLike,
    support: ArrayLike,
    prompt_len: ArrayLike,
    cached_len: ArrayLike = 0,
    cost: CostModel = CostModel(),
) -> NDArray[np.float64]:
    """Gittins index of each request at age 0 and at the age of every edge, in one pass.

    Same index as :func:`gittins_index`, from the lower convex hull of costs against masses: O(m) a
    row where nothing is left to prefill, O(m log m) otherwise, against O(m^2) age by age. For any
    other age, and for a cached prefix that changes, see :class:`IndexCurve`.

    Args:
        pmf: ``[N, m]`` mass of each output length, finite and >= 0; or ``[m]``, one row.
        support: ``[m]`` right edge of each length bin in tokens, positive, strictly increasing.
        prompt_len: ``[N]`` or scalar, prompt tokens.
        cached_len: ``[N]`` or scalar, prompt tokens in the prefix cache; clamped to ``prompt_len``.
        cost: coefficients of the cost.

    Returns:
        float64 ``[N, m + 1]`` (``[m + 1]`` for one row): column 0 at age 0, column ``k + 1`` at age
        ``support[k]``, where bin ``k`` is no longer possible.

    Raises:
        ValueError, TypeError: as :func:`gittins_index`.
    """
    rows = pmf if np.ndim(pmf) != 1 else np.asarray(pmf)[None]
    curve = _core.gittins_curve(
        rows, support, prompt_len, cached_len, cost.token, cost.memory, cost.prefill
    )
    return curve[0] if np.ndim(pmf) == 1 else curve


class IndexCurve(_core.IndexCurve):
    """The Gittins index of one request at any age and any cached prefix, from one O(m) pass.

    ``index(age, cached_len)`` then takes O(log m): both only move the point from which the tangent
    to a hull that is kept is drawn.

    Args:
        pmf: ``[m]`` mass of each output length, finite and >= 0; copied.
        support: ``[m]`` right edge of each length bin in tokens, positive, strictly increasing.
        prompt_len: prompt tokens.
        cost: coefficients of the cost.

    Raises:
        ValueError, TypeError: as :func:`gittins_index`.
    """

    def __init__(
        self,
        pmf: ArrayLike,
        support: ArrayLike,
        prompt_len: float,
        cost: CostModel = CostModel(),
    ) -> None:
        super().__init__(pmf, support, prompt_len, cost.token, cost.memory, cost.prefill)
        self.cost = cost


class RankEngine(_core.RankEngine):
    """The requests of one scheduler, best first.

    Order: ``priority`` ascending, then ``key`` ascending, then admission. The key is::

        (arrival + boost) + index_weight * max(low, ln(index) - scale * lead)
                             for a finite weight (0: first come, first served)
        boost + ln(index)    for an infinite one (pure Gittins)

    with the index in float32, ``ln(index)`` clamped to ``set_index_band``, from ``low`` on, and the
    ``scale`` of ``set_lead_scale``.
    Ranks that make the same calls see the same order, bit for bit, on every machine. A step of
    ``c`` changes among ``n`` requests costs O(c log n) and at most three calls: ``add_batch``,
    ``update`` (which also removes) and ``top``. A request takes ``bytes_per_request`` =
    ``4 m + 100`` bytes. Methods are described in ``_core.pyi``.

    Args:
        support: ``[m]`` right edge of each length bin in tokens, positive, strictly increasing.
        cost: coefficients of the cost.
        index_weight: >= 0, in units of the caller's arrival clock.
        slice: after a new weight, band, scale or cost each ``top`` re-ranks this many slots.

    Raises:
        ValueError: an unordered or empty support, a negative or NaN weight, a slice of 0, a cost
            so large that an index might not fit float32.
    """

    def __init__(
        self,
        support: ArrayLike,
        cost: CostModel = CostModel(),
        index_weight: float = math.inf,
        slice: int = 4096,
    ) -> None:
        super().__init__(support, cost.token, cost.memory, cost.prefill, index_weight, slice)
        self.cost = cost

    def set_cost(self, cost: CostModel) -> None:
        """Change the cost; the index of everybody follows in slices, one per ``top``.

        Pass coefficients that are rounded the same way on every rank.
        """
        super().set_cost(cost)
        self.cost = cost
