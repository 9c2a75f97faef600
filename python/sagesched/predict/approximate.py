"""Search in a long history: a short list by sketches of the vectors, to be searched exactly.

A sketch has one bit for each of many fixed directions: on which side of zero the vector lies. Two
sketches differ in few bits where the angle between their vectors is small, so the nearest vectors
are among those with the most like sketches, and comparing bits is quicker than multiplying. There
is nothing to train and nothing to rebuild when the traffic changes; a sketch is replaced in
constant time. docs/decisions.md has the figures, beside those of FAISS's IVF-Flat.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sagesched.predict.base import Vectors

Slots = NDArray[np.int64]
Sketch = NDArray[np.uint8]

CANDIDATES_PER_NEIGHBOUR = 8
CANDIDATE_SHARE = 64
"""The short list has eight times as many records as are wanted, and a 64th of all at least."""
LEAST_BITS = 512


class Sketches:
    """The sketches of a ring of vectors. Needs FAISS. One thread; the same result every time.

    Args:
        dim: length of the vectors; a sketch takes half as many bytes, and 64 at least.
        capacity: number of slots.

    Raises:
        ImportError: FAISS is not installed.
    """

    def __init__(self, dim: int, capacity: int) -> None:
        import faiss

        self._faiss = faiss
        self._directions = _directions(dim, max(LEAST_BITS, 64 * round(dim / 16)))
        self._rows: Sketch = np.zeros((capacity, self._directions.shape[1] // 8), dtype=np.uint8)

    def put(self, slot: int, vector: Vectors) -> None:
        """Store the sketch of a vector[dim] in place of the slot's old one."""
        self._rows[slot] = self._sketch(vector)

    def candidates(self, query: Vectors, k: int, size: int) -> Slots:
        """The slots, in their order, among which the k nearest of the first `size` are sought."""
        count = min(size, max(CANDIDATES_PER_NEIGHBOUR * k, size // CANDIDATE_SHARE))
        # One thread: the server needs the other cores. The setting is OpenMP's and holds for the
        # calling thread only.
        self._faiss.omp_set_num_threads(1)
        # "mc" counts records by distance: its time does not depend on their order.
        _, found = self._faiss.knn_hamming(
            self._sketch(query)[np.newaxis], self._rows[:size], count, variant="mc"
        )
        slots: Slots = np.sort(found[0])
        return slots

    def _sketch(self, vector: Vectors) -> Sketch:
        # Not a matrix product of all queries at once, whose rounding depends on their number.
        return np.packbits(np.einsum("d,db->b", vector, self._directions) > 0.0)


def _directions(dim: int, bits: int) -> Vectors:
    """float32[dim, bits]: bases of random orthogonal directions side by side, always the same."""
    random = np.random.default_rng(0)
    bases = [np.linalg.qr(random.normal(size=(dim, dim)))[0] for _ in range(-(-bits // dim))]
    return np.ascontiguousarray(np.concatenate(bases, axis=1)[:, :bits], dtype=np.float32)
