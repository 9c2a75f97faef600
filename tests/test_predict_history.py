"""The ring of records: replacement, exact search, and vectors that must not poison it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagesched import _core
from sagesched.predict.base import Vectors, unit_rows
from sagesched.predict.history import History


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


def filled(vectors: Vectors) -> History:
    history = History(vectors.shape[1], len(vectors))
    for slot, vector in enumerate(vectors):
        history.put(slot, vector)
    return history


@pytest.mark.parametrize(
    ("rows", "dim", "k"), [(1, 5, 1), (5, 258, 5), (500, 64, 64), (2000, 66, 128), (700, 1, 9)]
)
def test_the_nearest_are_those_of_sorting_everything(rows: int, dim: int, k: int) -> None:
    stored, asked = random_vectors(rows, dim, seed=1), random_vectors(20, dim, seed=2)
    found = filled(stored).nearest(asked, k)
    products = asked.astype(np.float64) @ stored.T.astype(np.float64)
    assert found.cosine == pytest.approx(-np.sort(-products)[:, :k], abs=1e-6)
    taken = np.take_along_axis(products, found.slots, 1)
    assert found.cosine == pytest.approx(taken, abs=1e-6)
    assert all(len(set(slots)) == k for slots in found.slots.tolist())


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([1e-7, 1e-5, 1e-4, 1e-3, 1e-2]),
    rows=st.integers(1, 400),
    k=st.integers(1, 200),
)
def test_rounded_rows_do_not_hide_the_nearest(seed: int, spread: float, rows: int, k: int) -> None:
    # So close together that the rounded products say little about the order.
    random = np.random.default_rng(seed)
    centre = random.normal(size=64)
    stored = unit_rows(centre + spread * random.normal(size=(rows, 64)))
    query = unit_rows(centre[np.newaxis] + spread * random.normal(size=(1, 64)))
    k = min(k, rows)
    found = filled(stored).nearest(query, k)
    best = -np.sort(-(stored.astype(np.float64) @ query[0].astype(np.float64)))[:k]
    assert found.cosine[0] == pytest.approx(best, abs=3e-7)


def test_equal_records_come_by_slot() -> None:
    vectors = np.repeat(random_vectors(2, 64), [300, 20], axis=0)
    found = filled(vectors).nearest(vectors[[-1, 0]], 100)
    assert found.slots[0].tolist() == [*range(300, 320), *range(80)]
    assert found.slots[1].tolist() == list(range(100))


def test_what_is_no_history_is_refused() -> None:
    rows = random_vectors(3, 4)
    codes = np.stack([_core.code_units(row) for row in rows])
    with pytest.raises(ValueError, match="codes has shape"):
        _core.nearest(rows[0], rows, codes[:2], 1)
    with pytest.raises(ValueError, match="query has shape"):
        _core.nearest(rows[0, :3], rows, codes, 1)
    with pytest.raises(ValueError, match="k is -1"):
        _core.nearest(rows[0], rows, codes, -1)
    with pytest.raises(TypeError):
        _core.nearest(rows[0], rows.astype(np.float64), codes, 1)
    with pytest.raises(TypeError):
        _core.nearest(rows[0], rows[:, ::2], codes[:, ::2], 1)


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
