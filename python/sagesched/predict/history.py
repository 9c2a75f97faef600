"""The most recent finished requests: their vectors, lengths, and who of them is nearest."""

from __future__ import annotations

import logging
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sagesched.predict.approximate import Sketches, Slots
from sagesched.predict.base import Vectors, unit_rows

EXACT_UP_TO = 20_000
"""Records that are all compared with a prompt; of more, only a short list is (with FAISS)."""


class Neighbours(NamedTuple):
    """The nearest records of each query, best first; ties by slot number."""

    cosine: NDArray[np.float32]  # [q, k]
    slots: Slots  # [q, k]


class NearestRows(Protocol):
    """Exact search by inner product."""

    def __call__(self, queries: Vectors, rows: Vectors, k: int) -> Neighbours:
        """The k best of rows[n, dim] for each of queries[q, dim]; 1 <= k <= n."""


def nearest_rows_numpy(queries: Vectors, rows: Vectors, k: int) -> Neighbours:
    """`NearestRows` with one matrix-vector product per query.

    By einsum, in this thread: BLAS would take the server's cores, and is slower where they are
    busy (measured: 2 to 6 ms against 0.7 ms for 10,000 records on two busy cores).
    """
    cosine = np.empty((len(queries), k), dtype=np.float32)
    slots = np.empty((len(queries), k), dtype=np.int64)
    for i, query in enumerate(queries):
        products = np.einsum("nd,d->n", rows, query)
        best = np.argpartition(products, len(rows) - k)[len(rows) - k :]
        slots[i], cosine[i] = best, products[best]
    return _best_first(cosine, slots)


def nearest_rows_faiss(queries: Vectors, rows: Vectors, k: int) -> Neighbours:
    """`NearestRows` with FAISS: the search of an IndexFlatIP, run on our own array.

    An index would own a second copy of the vectors and cannot replace one in constant time.
    """
    import faiss

    # One thread: a search takes under a millisecond, and the server needs the other cores. The
    # setting is OpenMP's and holds for the calling thread only.
    faiss.omp_set_num_threads(1)
    # FAISS turns to BLAS at 20 queries, with other rounding: a prediction would depend on its
    # batch. Below that every query is computed alone.
    parts = [
        faiss.knn(queries[i : i + 16], rows, k, metric=faiss.METRIC_INNER_PRODUCT)
        for i in range(0, len(queries), 16)
    ]
    cosine, slots = (np.concatenate(part) for part in zip(*parts, strict=True))
    return _best_first(cosine, slots)


def best_nearest_rows() -> NearestRows:
    """FAISS where it is installed, else numpy."""
    try:
        # It tells the log of whatever process imports it which libraries it tried to load.
        logging.getLogger("faiss.loader").setLevel(logging.WARNING)
        import faiss  # noqa: F401
    except ImportError:
        return nearest_rows_numpy
    return nearest_rows_faiss


def _best_first(cosine: NDArray[np.float32], slots: Slots) -> Neighbours:
    if (cosine[:, 1:] < cosine[:, :-1]).all():  # as they mostly are
        return Neighbours(cosine, slots)
    order = np.lexsort((slots, -cosine), axis=-1)
    return Neighbours(np.take_along_axis(cosine, order, 1), np.take_along_axis(slots, order, 1))


class History:
    """At most `capacity` records; a new one replaces an old one in constant time.

    Args:
        dim: length of the vectors.
        capacity: number of records kept, at least 1.
        nearest_rows: the search; FAISS where installed by default.
        exact_up_to: records up to which the search is exact; it always is without FAISS.
    """

    def __init__(
        self,
        dim: int,
        capacity: int = 10_000,
        nearest_rows: NearestRows | None = None,
        exact_up_to: int = EXACT_UP_TO,
    ) -> None:
        if dim < 1 or capacity < 1:
            raise ValueError(f"History: dim and capacity must be >= 1, got {dim} and {capacity}")
        self.capacity = capacity
        self._nearest_rows = nearest_rows or best_nearest_rows()
        self._vectors: Vectors = np.zeros((capacity, dim), dtype=np.float32)
        self._sum = np.zeros(dim)  # of the vectors; of float32, so rounding does not add up
        self._size = 0
        self._exact_up_to = exact_up_to
        self._sketches: Sketches | None = None
        if capacity > exact_up_to and self._nearest_rows is nearest_rows_faiss:
            self._sketches = Sketches(dim, capacity)

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
        self._vectors[slot] = unit_rows(np.asarray(vector, dtype=np.float32)[np.newaxis])[0]
        self._sum += self._vectors[slot]
        if self._sketches is not None:
            self._sketches.put(slot, self._vectors[slot])
        self._size = max(self._size, slot + 1)

    def nearest(self, vectors: Vectors, k: int) -> Neighbours:
        """The min(k, len(self)) nearest records of each of vectors[q, dim]."""
        k = min(k, self._size)
        if k == 0 or len(vectors) == 0:
            shape = (len(vectors), k)
            return Neighbours(np.zeros(shape, np.float32), np.zeros(shape, np.int64))
        queries = unit_rows(vectors)
        if self._sketches is None or self._size <= self._exact_up_to:
            return self._nearest_rows(queries, self._vectors[: self._size], k)
        found = [self._among_candidates(self._sketches, query, k) for query in queries]
        return Neighbours(*map(np.stack, zip(*found, strict=True)))

    def _among_candidates(self, sketches: Sketches, query: Vectors, k: int) -> Neighbours:
        slots = sketches.candidates(query, k, self._size)
        found = self._nearest_rows(query[np.newaxis], self._vectors[slots], k)
        return Neighbours(found.cosine[0], slots[found.slots[0]])

    def usual_similarity(self, vectors: Vectors) -> NDArray[np.float64]:
        """Mean cosine [q] of unit vectors[q, dim] to the records; 0 while there are none."""
        usual = np.einsum("qd,d->q", vectors, self._sum)
        return np.asarray(usual / max(self._size, 1))

    def cosines(self, vector: Vectors, slots: Slots) -> NDArray[np.float32]:
        """Of vector[dim] to some of the records."""
        unit = unit_rows(vector[np.newaxis])[0]
        return np.asarray(np.einsum("nd,d->n", self._vectors[slots], unit))

    def __len__(self) -> int:
        return self._size
