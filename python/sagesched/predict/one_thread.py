"""One thread for small matrices: BLAS would take the server's cores, and where those are busy its
threads wait for each other; a fit of the trend then takes 30 times as long."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any


def one_blas_thread() -> AbstractContextManager[object]:
    """While it lasts, NumPy computes in the calling thread. Without threadpoolctl nothing changes.

    A few microseconds. The number of threads belongs to the process: matrix products of other
    threads that start meanwhile take one, too.
    """
    blas = _blas()
    return nullcontext() if blas is None else blas.limit(limits=1)


@cache
def _blas() -> Any:
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController().select(user_api="blas")  # milliseconds: once
