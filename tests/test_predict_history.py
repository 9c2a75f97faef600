"""The ring of records: replacement, exact search, and vectors that must not poison it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from sagesched.predict.base import Vectors, unit_rows
from sagesched.predict.history import (
    History,
    best_nearest_rows,
    nearest_rows_faiss,
    nearest_rows_numpy,
)


def random_vectors(n: int, dim: int, seed: int = 0) -> Vectors:
    return unit_rows(np.random.default_rng(seed).normal(size=(n, dim)))


def test_an_empty_history_has_no_neighbours() -> None:
    neighbours = History(4, 8).nearest(random_vectors(3, 4), 5)
    assert neighbours.slots.shape == neighbours.cosine.shape == (3, 0)


def test_a_record_is_replaced() -> None:
    vectors = random_vectors(7, 16)
    history = History(16, capacity=4)
    slots = [0, 1, 2, 3, 0, 1, 2]
    for slot, vector in zip(slots, vectors, strict=True):
        history.put(slot, vector)
    assert len(history) == 4
    found = history.nearest(vectors, 1)
    kept = [3, 4, 5, 6]
    assert found.slots[kept, 0].tolist() == [slots[n] for n in kept]
    assert found.cosine[kept, 0] == pytest.approx(1.0, abs=1e-6)
    assert (found.cosine[:3, 0] < 0.99).all()


@pytest.mark.parametrize(
    ("rows", "queries", "k"), [(1, 1, 1), (5, 3, 5), (500, 45, 64), (33, 17, 8)]
)
def test_faiss_and_numpy_find_the_same(rows: int, queries: int, k: int) -> None:
    pytest.importorskip("faiss", reason="faiss is not installed")
    stored, asked = random_vectors(rows, 258, seed=1), random_vectors(queries, 258, seed=2)
    expected = nearest_rows_numpy(asked, stored, k)
    found = nearest_rows_faiss(asked, stored, k)
    assert found.slots.dtype == expected.slots.dtype
    assert found.slots.tolist() == expected.slots.tolist()
    assert found.cosine == pytest.approx(expected.cosine, abs=1e-6)


def test_numpy_search_agrees_with_sorting_everything() -> None:
    stored, asked = random_vectors(200, 32, seed=3), random_vectors(9, 32, seed=4)
    best = np.argsort(-(asked @ stored.T), axis=1)[:, :10]
    assert nearest_rows_numpy(asked, stored, 10).slots.tolist() == best.tolist()


def test_without_faiss_numpy_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)  # as if not installed
    assert best_nearest_rows() is nearest_rows_numpy
    history = History(4, 8)
    history.put(0, np.array([0, 2, 0, 0], dtype=np.float32))
    assert history.nearest(np.eye(4, dtype=np.float32), 3).cosine.tolist() == [[0], [1], [0], [0]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0])
def test_vectors_without_direction_are_near_to_nothing(bad: float) -> None:
    history = History(4, 8)
    good = np.array([1, 0, 0, 0], dtype=np.float32)
    history.put(0, np.full(4, bad, dtype=np.float32))
    history.put(1, good)
    found = history.nearest(np.stack([good, np.full(4, bad, dtype=np.float32)]), 2)
    assert found.slots[0].tolist() == [1, 0]
    assert found.cosine[0].tolist() == [1.0, 0.0]
    assert found.cosine[1].tolist() == [0.0, 0.0]


def test_wrong_sizes_are_value_errors() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\), expected \(4,\)"):
        History(4, 8).put(0, np.zeros(3, dtype=np.float32))
    with pytest.raises(ValueError, match="capacity"):
        History(4, 0)
