"""Nothing is timed that is not right: every contender against the float64 reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from sagesched import reference
from sagesched.bench.numpy_index import Masked
from sagesched.bench.requests import Requests

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS = 48
"""Rows for which the reference itself is asked; it takes milliseconds for each. The others are
compared with NumPy in float64, once that has agreed with the reference on these."""

BLOCK_MASSES = 2**18
"""Of which NumPy makes float64 at a time."""


class WrongResultError(RuntimeError):
    """A contender that does not compute the index."""


def tolerance(dtype: str, bins: int) -> float:
    """Largest relative error that rounding can explain.

    Masses, age and support are rounded to the dtype once, and the running sums of cost and mass
    have at most ``bins`` terms >= 0 each, so that their relative errors add up to no more than
    about ``2 * bins`` units in the last place; a cumulative product of a few more is allowed for
    what follows the sums. The one difference, total less finished, is taken where a share ``TAIL``
    of the mass is left at the earliest, which loses at most a factor of ten.
    """
    return float(np.finfo(dtype).eps) * (2 * bins + 16)


class Check:
    """Compares every row of a batch. Those that the reference is asked for are spread evenly."""

    def __init__(self, requests: Requests) -> None:
        count, bins = requests.pmf.shape
        which = np.unique(np.linspace(0, count - 1, min(ROWS, count)).astype(np.intp))
        exact = reference.gittins_index(*requests.rows(which).arguments("row-major"))
        self._expected = _in_float64(requests)
        _compare(
            "NumPy in float64", self._expected[which], exact, tolerance("float64", bins), which
        )
        self._expected[which] = exact
        self._tolerance = tolerance(str(requests.pmf.dtype), bins)

    def __call__(self, name: str, result: NDArray[Any]) -> None:
        """Raises ``WrongResultError`` naming the contender, the row and both values."""
        found = np.asarray(result, dtype=np.float64)
        if found.shape != self._expected.shape:
            raise WrongResultError(f"{name}: shape {found.shape}, not {self._expected.shape}")
        _compare(name, found, self._expected, self._tolerance, np.arange(len(found)))


def _in_float64(requests: Requests) -> NDArray[np.float64]:
    count, bins = requests.pmf.shape
    block = max(1, BLOCK_MASSES // bins)
    found = np.empty(count)
    for first in range(0, count, block):
        rows = requests.rows(np.arange(first, min(first + block, count)))
        found[first : first + block] = Masked(rows, rows.pmf.astype(np.float64), block)()
    return found


def _compare(
    name: str,
    found: NDArray[np.float64],
    expected: NDArray[np.float64],
    allowed: float,
    rows: NDArray[np.intp],
) -> None:
    error = np.abs(found / expected - 1)
    worst = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
    if not error[worst] <= allowed:
        raise WrongResultError(
            f"{name}: row {rows[worst]} is {float(found[worst])!r} and must be "
            f"{float(expected[worst])!r} within {allowed:.1e}"
        )


def check_all(requests: Requests, contenders: dict[str, Callable[[], NDArray[Any]]]) -> None:
    """Every contender by name; each gives the index ``[N]``."""
    check = Check(requests)
    for name, call in contenders.items():
        check(name, call())
