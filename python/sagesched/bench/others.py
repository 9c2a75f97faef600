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
    """The same loop compiled for the machine, one thread; None where Numba is not installed."""
    try:
        import numba
    except ImportError:
        return None
    one_row_at_a_time: Any = numba.njit(error_model="numpy")(_rows)
    cost, pmf = requests.cost, requests.pmf
    support = requests.support.astype(pmf.dtype)
    out = np.empty(len(pmf), pmf.dtype)
    kind = pmf.dtype.type
    numbers = tuple(kind(x) for x in (cost.token, cost.memory, cost.prefill))

    def run() -> NDArray[Any]:
        one_row_at_a_time(
            pmf, support, requests.age, requests.prompt_len, requests.cached_len, numbers, out
        )
        return out

    return run


def _rows(
    pmf: NDArray[Any],
    support: NDArray[Any],
    ages: NDArray[Any],
    prompts: NDArray[Any],
    cached: NDArray[Any],
    numbers: tuple[Any, Any, Any],
    out: NDArray[Any],
) -> None:
    token, memory, prefill = numbers
    zero = out.dtype.type(0)
    for i in range(len(pmf)):
        age = out.dtype.type(ages[i])
        prompt = out.dtype.type(prompts[i])
        slope, half = token + memory * prompt, memory / out.dtype.type(2)
        first = np.searchsorted(support, age, side="right")
        total = zero
        for k in range(first, len(support)):
            total += pmf[i, k]
        spent = prefill * (prompt - min(prompt, out.dtype.type(cached[i]))) * total
        finished, best_spent, best_finished = zero, out.dtype.type(1), zero
        before = age
        for k in range(first, len(support)):
            edge = support[k]
            step = (edge - before) * (slope + half * (edge + before))
            spent += step * (total - finished)
            finished += pmf[i, k]
            before = edge
            if spent * best_finished < best_spent * finished:
                best_spent, best_finished = spent, finished
        out[i] = best_spent / best_finished
