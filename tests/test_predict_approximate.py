"""Long histories: a short list by sketches, and how much of the exact answer it holds."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from sagesched.predict.base import Vectors, unit_rows
from sagesched.predict.history import EXACT_UP_TO, History

DIM = 64
CAPACITY = 6_000

pytest.importorskip("faiss", reason="faiss is not installed: every search is exact")


def clustered(n: int, seed: int, dim: int = DIM) -> Vectors:
    """Prompts of 60 tasks, more or less alike."""
    random = np.random.default_rng(seed)
    tasks = np.random.default_rng(7).normal(size=(60, dim))
    spread = random.uniform(0.3, 1.5, size=(n, 1))
    return unit_rows(tasks[random.integers(0, 60, n)] + spread * random.normal(size=(n, dim)))


def filled(vectors: Vectors, **options: int) -> History:
    history = History(vectors.shape[1], CAPACITY, **options)
    for n, vector in enumerate(vectors):
        history.put(n % CAPACITY, vector)
    return history


@pytest.fixture(scope="module")
def turned_over() -> tuple[History, History]:
    """An approximate and an exact history of the same records, half of them replaced."""
    vectors = clustered(CAPACITY * 3 // 2, seed=1)
    return filled(vectors, exact_up_to=1000), filled(vectors, exact_up_to=CAPACITY)


def test_most_of_the_nearest_are_found(turned_over: tuple[History, History]) -> None:
    approximate, exact = turned_over
    asked = clustered(100, seed=2)
    found, wanted = approximate.nearest(asked, 128), exact.nearest(asked, 128)
    recall = [np.isin(a, b).mean() for a, b in zip(found.slots, wanted.slots, strict=True)]
    assert np.mean(recall) >= 0.95
    assert not np.array_equal(found.slots, wanted.slots)  # it was not the exact search
    # Those that are missing are the farthest of the 128.
    assert np.mean(found.cosine[:, :32] == wanted.cosine[:, :32]) > 0.99


def test_cosines_are_exact_and_ordered(turned_over: tuple[History, History]) -> None:
    asked = clustered(20, seed=3)
    found = turned_over[0].nearest(asked, 128)
    stored = clustered(CAPACITY * 3 // 2, seed=1)
    ring = np.concatenate([stored[CAPACITY:], stored[CAPACITY // 2 : CAPACITY]])
    true = np.einsum("qkd,qd->qk", ring[found.slots], asked)
    assert found.cosine == pytest.approx(true, abs=1e-6)
    assert (np.diff(found.cosine) <= 0).all()


def test_an_exact_copy_is_found_and_a_replaced_record_is_not(
    turned_over: tuple[History, History],
) -> None:
    vectors = clustered(CAPACITY * 3 // 2, seed=1)
    found = turned_over[0].nearest(vectors[::50], 1)
    copies = found.cosine[:, 0] > 1 - 1e-5
    gone = np.arange(0, len(vectors), 50) < CAPACITY // 2
    assert (copies == ~gone).all()


def test_copies_of_one_prompt_are_all_among_the_nearest() -> None:
    vectors = clustered(3000, seed=4)
    vectors[::30] = vectors[0]
    found = filled(vectors, exact_up_to=1000).nearest(vectors[:1], 128)
    assert found.slots[0, :100].tolist() == list(range(0, 3000, 30))


def test_neighbours_do_not_depend_on_the_batch(turned_over: tuple[History, History]) -> None:
    asked = clustered(45, seed=5)
    together = turned_over[0].nearest(asked, 64)
    alone = [turned_over[0].nearest(query[np.newaxis], 64) for query in asked]
    assert np.array_equal(together.slots, np.concatenate([one.slots for one in alone]))
    assert np.array_equal(together.cosine, np.concatenate([one.cosine for one in alone]))


def test_the_same_records_give_the_same_neighbours(turned_over: tuple[History, History]) -> None:
    again = filled(clustered(CAPACITY * 3 // 2, seed=1), exact_up_to=1000)
    asked = clustered(10, seed=6)
    assert np.array_equal(again.nearest(asked, 64).slots, turned_over[0].nearest(asked, 64).slots)


@pytest.mark.parametrize("dim", [1, 3, 130, 258, 384])
def test_any_dimension_will_do(dim: int) -> None:
    vectors = clustered(300, seed=8, dim=dim)
    history = filled(vectors, exact_up_to=10)
    assert history.nearest(vectors, 1).cosine[:, 0] == pytest.approx(1.0, abs=1e-5)
    assert history.nearest(vectors[:2], 1000).slots.shape == (2, 300)


def test_vectors_without_direction_are_near_to_nothing() -> None:
    vectors = clustered(100, seed=9)
    vectors[:50] = np.nan
    history = filled(vectors, exact_up_to=10)
    assert (history.nearest(np.full((1, DIM), np.inf, dtype=np.float32), 9).cosine == 0.0).all()
    assert (history.nearest(vectors[60:61], 9).slots >= 50).all()


def test_few_records_and_no_faiss_are_searched_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    assert History(4, EXACT_UP_TO)._sketches is None
    assert History(4, EXACT_UP_TO + 1)._sketches is not None
    monkeypatch.setitem(sys.modules, "faiss", None)  # as if not installed
    assert History(4, EXACT_UP_TO + 1)._sketches is None
