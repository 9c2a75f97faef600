"""Predictions that follow their requests: who awaits one in a scheduler, and what it changes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.plugin.following import MOST_AWAITED, MOST_EARLY, Following
from sagesched.plugin.order import QueueOrder
from sagesched.plugin.place import Place, place_of
from sagesched.plugin.wire import (
    BINS_KEY,
    OF_KEY,
    is_message,
    numbers_of,
    read_message,
)

from .operating import names
from .test_queue_order import GRID, KV_VOLUME, PRIOR, Request, make_order, no_prefix, point

LENGTHS = [900, 20, 500, 10, 700]


# What travels.


@given(st.integers(1, 2**20), st.integers(0, 2**32 - 1))
def test_a_message_carries_a_distribution(longest: int, seed: int) -> None:
    grid = LengthGrid(longest)
    pmf = np.random.default_rng(seed).dirichlet(np.full(len(grid), 0.05))
    sent = numbers_of(1.0, LengthDistribution(grid, pmf))
    assert is_message(sent)
    assert all(isinstance(value, (int, float)) for value in sent.values())
    found = read_message(sent, grid)
    assert found is not None
    assert np.allclose(found.pmf, pmf, atol=1e-6)


def test_a_message_may_say_that_there_is_none() -> None:
    assert read_message(numbers_of(1.0, None), GRID) is None
    assert not is_message({"sagesched_dial": 1.0})


def changed(value: float) -> dict[str, float]:
    """A message with one of its numbers replaced."""
    return numbers_of(1.0, point(5)) | {"0": value}


@pytest.mark.parametrize(
    "values",
    [
        {BINS_KEY: 3, OF_KEY: 1.0, "0": 1.0},
        {BINS_KEY: math.nan, OF_KEY: 1.0},
        {BINS_KEY: "many", OF_KEY: 1.0},
        {BINS_KEY: len(GRID), OF_KEY: 1.0},
        {BINS_KEY: len(GRID), OF_KEY: 1.0, "0": 1.0},
        *(changed(0.5), changed(-1.0), changed(math.nan), changed(math.inf), changed(1e308)),
    ],
)
def test_a_malformed_message_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"bins|[Ll]ength"):
        read_message(values, GRID)


# Who awaits one.

A = ("a", 1.0)


def a_place() -> Place:
    return Place(0, 0, PRIOR, KV_VOLUME)


def test_a_prediction_finds_who_awaits_it_once() -> None:
    following, place = Following(), a_place()
    following.awaits(A, place, 7)
    found = following.came(A, point(5))
    assert found is not None
    assert (found.place, found.prompt) == (place, 7)
    assert following.came(A, point(5)) is None


def test_one_that_is_faster_is_kept_for_a_request_to_come() -> None:
    following, law = Following(), point(5)
    assert not following.has_come(A)
    assert following.came(A, law) is None
    assert following.has_come(A)
    assert following.take(A) is law
    assert not following.has_come(A)


def test_an_id_that_is_used_again_is_another_request() -> None:
    following, place, again = Following(), a_place(), ("a", 2.0)
    following.turned_away(A)
    assert not following.has_come(again)
    following.awaits(again, place, 7)
    assert following.came(A, point(5)) is None
    assert not following.has_come(A)
    found = following.came(again, point(5))
    assert found is not None
    assert found.place is place


def test_one_that_comes_before_its_request_is_turned_away_is_dropped() -> None:
    following = Following()
    following.came(A, point(5))
    following.turned_away(A)
    assert not following.has_come(A)
    assert not following._awaited


def test_it_keeps_a_bounded_number_the_latest() -> None:
    following, place = Following(), a_place()
    for i in range(MOST_AWAITED + 10):
        following.awaits((f"{i}", 0.0), place, 1)
    for i in range(5_000):
        following.came((f"strange {i}", 0.0), None)
    assert len(following._awaited) == MOST_AWAITED
    assert following.came(("9", 0.0), None) is None
    assert following.came(("10", 0.0), None) is not None
    assert len(following._early) == MOST_EARLY
    assert following.has_come(("strange 4999", 0.0))
    assert not following.has_come(("strange 0", 0.0))


# What it changes.


def foretell(order: QueueOrder, request: Any, law: LengthDistribution | None) -> None:
    order.foretell(request._sagesched_place, len(request.origin_input_ids), law)


def state_of(order: QueueOrder, queue: list[Any]) -> list[Any]:
    """Everything that later decisions follow from."""
    return [
        order.backlog,
        order._anchor.centre,
        order._prior_pmf.tolist(),
        order.best_keys(len(queue)),
        [(r._sagesched_place.mean, r._sagesched_place.lead) for r in queue],
    ]


@pytest.mark.parametrize("dial", [0.5, 1.0, math.inf])
def test_at_once_it_is_as_if_it_had_come_with_the_request(dial: float) -> None:
    found = []
    for follows in (False, True):
        order, queue = make_order(dial), [Request(f"r{i}") for i in range(len(LENGTHS))]
        for step, (request, tokens) in enumerate(zip(queue, LENGTHS, strict=True)):
            order.enter(request, step, None if follows else point(tokens), follows=follows)
            if follows:
                foretell(order, request, point(tokens))
        order.rank(queue, 3, no_prefix)
        found.append([names(queue), state_of(order, queue)])
    assert found[0] == found[1]


def test_later_it_moves_a_request_that_waits() -> None:
    order, queue = make_order(), [Request(f"r{i}") for i in range(len(LENGTHS))]
    for request in queue:
        order.enter(request, 0, None, follows=True)
    order.rank(queue, 5, no_prefix)
    assert names(queue) == ["r0", "r1", "r2", "r3", "r4"]
    for request, tokens in zip(queue[:], LENGTHS, strict=True):
        foretell(order, request, point(tokens))
    order.rank(queue, 5, no_prefix)
    assert names(queue) == ["r3", "r1", "r2", "r4", "r0"]
    assert len(order) == 5


def test_one_that_runs_is_ranked_by_it_when_it_may_give_way() -> None:
    order, short, long_one = make_order(), Request("short"), Request("long")
    for request in (short, long_one):
        order.enter(request, 0, None, follows=True)
    order.settle([])
    foretell(order, long_one, point(4000))
    foretell(order, short, point(3))
    assert len(order) == 0
    assert names([r for _, r in order.worst_first([short, long_one])]) == ["long", "short"]


def test_the_traffic_is_told_of_each_request_once() -> None:
    for runs in (False, True):
        order, request = make_order(1.0), Request("r")
        order.enter(request, 0, None, follows=True)
        assert order._anchor._seen == 0  # type: ignore[attr-defined]
        if runs:
            order.settle([])
        foretell(order, request, point(30))
        request.output_ids = [1] * 4
        order.settle([])
        order.enter(request, 9, None)
        assert order._anchor._seen == 1  # type: ignore[attr-defined]


def test_without_a_prediction_after_all_the_mean_of_those_seen_stays() -> None:
    order, request = make_order(1.0), Request("r")
    order.enter(request, 0, None, limit=64, follows=True)
    believed = request._sagesched_place.distribution  # type: ignore[attr-defined]
    foretell(order, request, None)
    assert request._sagesched_place.distribution is believed  # type: ignore[attr-defined]
    assert not request._sagesched_place.awaits  # type: ignore[attr-defined]
    assert order._anchor._seen == 1  # type: ignore[attr-defined]


def test_a_parked_one_stays_parked_and_one_in_a_hurry_first() -> None:
    order, parked, others = make_order(), Request("parked"), [Request("a"), Request("b")]
    order.enter(parked, 0, None, follows=True)
    order.settle([])
    place = place_of(parked)
    assert place is not None
    parked.output_ids, place.parked_at = [1] * 5, 3.0
    queue: list[Any] = [parked, *others]
    order.enter(parked, 4, None)
    for request in others:
        order.enter(request, 4, point(2))
    order.hurry(parked)
    foretell(order, parked, point(4000))
    assert place.parked_at == 3.0
    order.rank(queue, 3, no_prefix)
    assert names(queue) == ["parked", "a", "b"]


@pytest.mark.parametrize("told", [False, True])
def test_whoever_else_is_in_a_hurry_stays_so_when_somebody_leaves(told: bool) -> None:
    order, first, second = make_order(1.0), Request("first"), Request("second")
    for request in (first, second):
        order.enter(request, 0, None, follows=True)
    order.settle([])
    for request, parked_at in ((first, 1.0), (second, 2.0)):
        place = place_of(request)
        assert place is not None
        request.output_ids, place.parked_at = [1] * 3, parked_at
        order.enter(request, 5, None)
        order.hurry(request)
    others = [Request(f"o{i}") for i in range(5)]
    for other in others:
        order.enter(other, 5, point(2))
    queue: list[Any] = [first, second, *others]
    order.rank(queue, 5, no_prefix)
    if told:
        foretell(order, first, point(4000))
    queue.remove(others[4])  # aborted
    order.rank(queue, 5, no_prefix)
    assert names(queue)[:2] == ["first", "second"]
    assert second._sagesched_place.parked_at == 2.0  # type: ignore[attr-defined]
