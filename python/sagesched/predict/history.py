"""The most recent finished requests: their vectors, lengths, and who of them is nearest."""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sagesched import _core
from sagesched.predict.approximate import Sketches, Slots
from sagesched.predict.base import Vectors, unit_rows

EXACT_UP_TO = 100_000
"""Records that are all compared with a prompt; of more, only a short list is (with FAISS)."""


class Neighbours(NamedTuple):
    """The nearest records of each query, best first, ties by slot number; and the mean cosine to
    all records, 0 while there are none."""

    cosine: NDArray[np.float32]  # [q, k]
    slots: Slots  # [q, k]
    usual: list[float]  # [q]


def _sketches(dim: int, capacity: int) -> Sketches | None:
    try:
        # FAISS tells the log of whatever process imports it which libraries it tried to load.
        logging.getLogger("faiss.loader").setLevel(logging.WARNING)
        return Sketches(dim, capacity)
    except ImportError:
        return None


class History:
    """At most `capacity` records; a new one replaces an old one in constant time.

    Args:
        dim: length of the vectors.
        capacity: number of records kept, at least 1.
        exact_up_to: records up to which the search is exact; it always is without FAISS.
    """

    def __init__(self, dim: int, capacity: int = 10_000, exact_up_to: int = EXACT_UP_TO) -> None:
        if dim < 1 or capacity < 1:
            raise ValueError(f"History: dim and capacity must be >= 1, got {dim} and {capacity}")
        self.capacity = capacity
        self._vectors: Vectors = np.zeros((capacity, dim), dtype=np.float32)
        self._codes = np.zeros((capacity, dim), dtype=np.int16)  # the same, rounded
        self._sum = np.zeros(dim)  # of the vectors; of float32, so rounding does not add up
        self._size = 0
        self._exact_up_to = exact_up_to
        self._sketches = _sketches(dim, capacity) if capacity > exact_up_to else None

    def put(self, slot: int, vector: Vectors) -> None:
        """Store a vector[dim] in a slot, 0 <= slot < capacity, in place of what is there.

        What has no direction (NaN, infinity, zero) is stored as zero: near to nothing. Slots are
        taken up from 0 without gaps (`tenancy.Slots`).

        Raises:
            ValueError: the vector has another length than `dim`.
        """
        dim = self._vectors.shape[1]
        if np.shape(vector) != (dim,):
            raise ValueError(f"History: vector has shape {np.shape(vector)}, expected ({dim},)")
        self._sum -= self._vectors[slot]
        unit = unit_rows(np.asarray(vector, dtype=np.float32)[np.newaxis])[0]
        self._vectors[slot] = unit
        self._codes[slot] = _core.code_units(unit)
        self._sum += unit
        if self._sketches is not None:
            self._sketches.put(slot, unit)
        self._size = max(self._size, slot + 1)

    def nearest(self, vectors: Vectors, k: int) -> Neighbours:
        """The min(k, len(self)) nearest records of each of vectors[q, dim]."""
        k = min(k, self._size)
        cosine = np.zeros((len(vectors), k), dtype=np.float32)
        slots = np.zeros((len(vectors), k), dtype=np.int64)
        usual = [0.0] * len(vectors)
        if k:
            for i, query in enumerate(unit_rows(vectors)):
                cosine[i], slots[i] = self._nearest(query, k)
                usual[i] = float(np.dot(self._sum, query)) / self._size
        return Neighbours(cosine, slots, usual)

    def _nearest(self, query: Vectors, k: int) -> tuple[NDArray[np.float32], Slots]:
        size = self._size
        if self._sketches is None or size <= self._exact_up_to:
            return _core.nearest(query, self._vectors[:size], self._codes[:size], k)
        slots = self._sketches.candidates(query, k, size)
        cosine, among = _core.nearest(query, self._vectors[slots], self._codes[slots], k)
        return cosine, slots[among]

    def cosines(self, vector: Vectors, slots: Slots) -> NDArray[np.float32]:
        """Of vector[dim] to some of the records."""
        unit = unit_rows(vector[np.newaxis])[0]
        return np.asarray(np.einsum("nd,d->n", self._vectors[slots], unit))

    def __len__(self) -> int:
        return self._size
