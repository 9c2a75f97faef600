"""Gittins index of the remaining cost, and the engine that keeps requests in its order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sagesched import _core
from sagesched._core import UnknownHandleError, move_to_front
from sagesched.cost import CostModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["RankEngine", "UnknownHandleError", "gittins_index", "move_to_front"]


def gittins_index(
    pmf: ArrayLike,
    support: ArrayLike,
    age: ArrayLike,
    prompt_len: ArrayLike,
    cached_len: ArrayLike = 0,
    cost: CostModel = CostModel(),
) -> NDArray[np.float64]:
    """Gittins index of the remaining cost of each request; the smallest goes first.

    With ``r_k`` the cost from the age to edge ``k`` (see :class:`CostModel`), ``p_k`` the mass of
    bin ``k`` conditioned on the bins whose edge lies beyond the age, and ``F_k`` its running sum::

        G = min over k of ( sum_{i<=k} r_i p_i + r_k (1 - F_k) ) / F_k

    which is ``min over D of E[min(X, D)] / P(X <= D)`` for a discrete remaining cost ``X``
    (SageSched, arXiv 2603.07917, section 3.2).

    Args:
        pmf: ``[N, m]`` mass of each output length, finite and >= 0. Rows need not sum to 1.
            float32 and float64 are read without a copy, arithmetic is float64.
        support: ``[m]`` right edge of each length bin in tokens, positive, strictly increasing.
        age: ``[N]`` or scalar, output tokens produced so far.
        prompt_len: ``[N]`` or scalar, prompt tokens.
        cached_len: ``[N]`` or scalar, prompt tokens in the prefix cache; clamped to ``prompt_len``.
        cost: coefficients of the cost.

    Returns:
        float64 ``[N]``, always finite and > 0.

    A row that has nothing left to say (mass beyond the age at most 1e-12 of the row's total, or no
    mass at all) gets a heavy-tailed continuation: ``P(O > x | O > a) = (max(a, 1) / x)**1.5`` at
    the edges beyond the age, the rest of the mass on the last of them. With no edge beyond the age
    the output is taken to end at ``2 * age``.

    Raises:
        ValueError: NaN, infinite, negative or too large (above 2**40 tokens) input, an unordered
            support, a shape that does not fit; the message names row, column and value.
        TypeError: input that is not made of real numbers.
    """
    return _core.gittins_index(
        pmf, support, age, prompt_len, cached_len, cost.token, cost.memory, cost.prefill
    )


class RankEngine(_core.RankEngine):
    """The requests of one scheduler, best first.

    Order: ``priority`` ascending, then ``key`` ascending, then insertion. The key is
    ``arrival + index_weight * ln(index)`` for a finite weight (0: first come, first served) and
    ``ln(index)`` for an infinite one (pure Gittins). Methods are described in ``_core.pyi``.

    Args:
        support: ``[m]`` right edge of each length bin in tokens, positive, strictly increasing.
        cost: coefficients of the cost.
        index_weight: >= 0, in units of the caller's arrival clock.

    Raises:
        ValueError: an unordered or empty support, a negative or NaN weight.
    """

    def __init__(
        self,
        support: ArrayLike,
        cost: CostModel = CostModel(),
        index_weight: float = math.inf,
    ) -> None:
        super().__init__(support, cost.token, cost.memory, cost.prefill, index_weight)
        self.cost = cost
