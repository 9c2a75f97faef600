"""Nothing is timed that is not right: every contender against the float64 reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from sagesched import reference
from sagesched.bench.requests import Requests

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS = 48
"""Rows that are compared; the reference takes milliseconds for each."""


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
    """Compares with the reference on some rows of a batch, spread evenly."""

    def __init__(self, requests: Requests) -> None:
        count = len(requests.pmf)
        self._which = np.unique(np.linspace(0, count - 1, min(ROWS, count)).astype(np.intp))
        self._expected = reference.gittins_index(*requests.rows(self._which).arguments("row-major"))
        self._tolerance = tolerance(str(requests.pmf.dtype), requests.pmf.shape[1])

    def __call__(self, name: str, result: NDArray[Any]) -> None:
        """Raises ``WrongResultError`` naming the contender, the row and both values."""
        found = np.asarray(result, dtype=np.float64)[self._which]
        error = np.abs(found / self._expected - 1)
        worst = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
        if not error[worst] <= self._tolerance:
            raise WrongResultError(
                f"{name}: row {self._which[worst]} is {found[worst]!r} and must be "
                f"{self._expected[worst]!r} within {self._tolerance:.1e}"
            )


def check_all(requests: Requests, contenders: dict[str, Callable[[], NDArray[Any]]]) -> None:
    """Every contender by name; each gives the index ``[N]``."""
    check = Check(requests)
    for name, call in contenders.items():
        check(name, call())
