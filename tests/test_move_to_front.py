"""move_to_front against list operations."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagesched import move_to_front


@settings(deadline=None)
@given(st.integers(0, 12), st.lists(st.integers(0, 15), max_size=20))
def test_move_to_front_against_a_list(length: int, wanted: list[int]) -> None:
    """Equal but distinct objects: identity decides."""
    pool: list[object] = [[] for _ in range(16)]
    queue, front = pool[:length], [pool[i] for i in wanted]
    ids = list(dict.fromkeys(i for i in wanted if i < length))
    expected = ids + [i for i in range(length) if i not in ids]
    assert move_to_front(queue, front) == len(ids)
    assert [id(item) for item in queue] == [id(pool[i]) for i in expected]
    assert [id(item) for item in front] == [id(pool[i]) for i in wanted]


def test_move_to_front_keeps_reference_counts() -> None:
    pool: list[object] = [object() for _ in range(40)]
    queue = [*pool, *pool[30:35]]
    front = [*pool[30:], *pool[30:], object()]
    before = [sys.getrefcount(item) for item in pool]
    for _ in range(1000):
        move_to_front(queue, front)
    assert [sys.getrefcount(item) for item in pool] == before
    assert sorted(map(id, queue)) == sorted(map(id, [*pool, *pool[30:35]]))


def test_move_to_front_same_list_and_repeats_in_the_queue() -> None:
    a, b = object(), object()
    queue = [a, b, b, a]
    assert move_to_front(queue, [b]) == 1
    assert queue == [b, a, b, a]
    assert move_to_front(queue, queue) == 2
    assert queue == [b, a, b, a]


@pytest.mark.parametrize("bad", [(1, 2), None, "ab", {1: 2}, iter([])])
def test_move_to_front_takes_lists_only(bad: Any) -> None:
    with pytest.raises(TypeError):
        move_to_front(bad, [])
    with pytest.raises(TypeError):
        move_to_front([], bad)
