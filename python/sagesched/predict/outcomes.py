"""What became of the recorded requests, as counts per length bin.

Kept beside the vectors of `History`, by the same slots. The totals are maintained with every
record, so that the history-wide distribution costs the same for 10 and for 10,000 records.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sagesched.lengths import Floats, LengthGrid

_FINISHED, _CENSORED, _EMPTY = 0, 1, 2


class Outcomes:
    """For each slot the bin a request finished in, or the first bin it may have finished in.

    Args:
        grid: the bins.
        capacity: number of slots.
    """

    def __init__(self, grid: LengthGrid, capacity: int) -> None:
        self._grid = grid
        self._bins: NDArray[np.int64] = np.zeros(capacity, dtype=np.int64)
        self._kinds: NDArray[np.int64] = np.full(capacity, _EMPTY, dtype=np.int64)
        self._totals = np.zeros((3, len(grid)), dtype=np.float64)  # by kind; whole numbers: exact

    def put(self, slot: int, output_tokens: int, finished: bool) -> None:
        """Store an outcome, replacing the slot's old one."""
        # Unfinished at n tokens means n + 1 or more: every bin that ends at or below n is passed.
        first_possible = output_tokens if finished else output_tokens + 1
        self._totals[self._kinds[slot], self._bins[slot]] -= 1.0
        self._kinds[slot] = _FINISHED if finished else _CENSORED
        self._bins[slot] = self._grid.bin_of(first_possible)
        self._totals[self._kinds[slot], self._bins[slot]] += 1.0

    def gather(self, slots: NDArray[np.int64], weights: Floats) -> tuple[Floats, Floats]:
        """Weight of finished and of censored requests per bin, each [q, m], for slots[q, k]."""
        sums = np.zeros((2, len(slots), len(self._grid)), dtype=np.float64)
        queries = np.arange(len(slots))[:, np.newaxis]
        np.add.at(sums, (self._kinds[slots], queries, self._bins[slots]), weights)
        return sums[_FINISHED], sums[_CENSORED]

    def totals(self) -> tuple[Floats, Floats]:
        """Number of finished and of censored requests per bin, each [m]."""
        return self._totals[_FINISHED], self._totals[_CENSORED]
