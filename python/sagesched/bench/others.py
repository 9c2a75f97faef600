"""Other ways to compute the index: plain Python, and Numba where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from sagesched.bench.requests import Requests

if TYPE_CHECKING:
    from numpy.typing import NDArray

Way = Callable[[], "NDArray[Any]"]


def python_way(requests: Requests) -> Way:
    """Lists and floats; one pass over the bins of a row."""
    rows, support = requests.pmf.tolist(), requests.support.tolist()
    columns = (requests.age.tolist(), requests.prompt_len.tolist(), requests.cached_len.tolist())
    cost = requests.cost

    def run() -> NDArray[Any]:
        result = []
        for row, age, prompt, cached in zip(rows, *columns, strict=True):
            slope, half = cost.token + cost.memory * prompt, 0.5 * cost.memory
            live = [(edge, mass) for edge, mass in zip(support, row, strict=True) if edge > age]
            left = sum(mass for _, mass in live)
            spent, before = cost.prefill * (prompt - min(cached, prompt)) * left, age
            finished, best = 0.0, float("inf")
            for edge, mass in live:
                spent += (edge - before) * (slope + half * (edge + before)) * left
                finished += mass
                left -= mass
                before = edge
                if finished > 0.0 and spent < best * finished:
                    best = spent / finished
            result.append(best)
        return np.array(result)

    return run


def numba_way(requests: Requests) -> Way | None:
    """A loop compiled for the machine, one thread, on columns; None where Numba is not installed.

    Bins outside and requests inside, so that the compiler can make vectors of requests.
    """
    try:
        import numba
    except ImportError:
        return None
    compiled: Any = numba.njit(error_model="numpy")(_blocks)
    cost, columns = requests.cost, requests.pmf_by_column.T
    kind = columns.dtype.type
    out = np.empty(columns.shape[1], columns.dtype)
    buffers = tuple(np.empty(BLOCK, columns.dtype) for _ in range(6))
    support = requests.support.astype(columns.dtype)

    def run() -> NDArray[Any]:
        age, prompt, cached = (
            x.astype(columns.dtype)
            for x in (requests.age, requests.prompt_len, requests.cached_len)
        )
        slope = kind(cost.token) + kind(cost.memory) * prompt
        offset = kind(cost.prefill) * (prompt - np.minimum(cached, prompt))
        compiled(columns, support, age, slope, offset, kind(0.5 * cost.memory), buffers, out)
        return out

    return run


BLOCK = 256


def _blocks(
    columns: NDArray[Any],
    support: NDArray[Any],
    age: NDArray[Any],
    slope: NDArray[Any],
    offset: NDArray[Any],
    half: Any,
    buffers: tuple[NDArray[Any], ...],
    out: NDArray[Any],
) -> None:
    total, cost, done, best_cost, best_done, before = buffers
    zero = half - half
    for first in range(0, len(out), BLOCK):
        count = min(BLOCK, len(out) - first)
        for i in range(count):
            total[i] = done[i] = best_done[i] = zero
            best_cost[i] = 1
            before[i] = age[first + i]
        for k in range(len(support)):
            for i in range(count):
                total[i] += columns[k, first + i] if support[k] > age[first + i] else zero
        for i in range(count):
            cost[i] = offset[first + i] * total[i]
        for k in range(len(support)):
            for i in range(count):
                at = max(support[k], before[i])
                price = slope[first + i] + half * (at + before[i])
                dearer = cost[i] + (at - before[i]) * price * (total[i] - done[i])
                more = done[i] + (columns[k, first + i] if support[k] > age[first + i] else zero)
                better = dearer * best_done[i] < best_cost[i] * more
                best_cost[i] = dearer if better else best_cost[i]
                best_done[i] = more if better else best_done[i]
                before[i], cost[i], done[i] = at, dearer, more
        for i in range(count):
            out[first + i] = best_cost[i] / best_done[i]
