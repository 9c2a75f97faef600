"""A front that still stands is not chosen again: ``sagesched.plugin.order``."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagesched.cost import CostModel
from sagesched.plugin.order import PREFIX_VALID_PASSES, QueueOrder
from tests.test_queue_order import GRID, PRIOR, Request, fill, make_order, no_prefix, point

PLACES, SPARE = 12, 8


class Counting(QueueOrder):
    """Counts how often it chose, and may be made to choose in every pass."""

    chosen = 0
    always = False

    def _best(self, places: int) -> list[Any]:
        self.chosen += 1
        return super()._best(places)

    def rank(self, *args: Any, **kwargs: Any) -> None:
        self._changed = self._changed or self.always
        super().rank(*args, **kwargs)


def order_and_queue(dial: float, always: bool) -> tuple[Counting, list[Any]]:
    order = Counting(PRIOR, CostModel(), dial)
    order.always = always
    return order, []


def play(order: Counting, queue: list[Any], seed: int, passes: int) -> list[str]:
    """A random life of a queue; returns who was admitted, in turn, and the best of each pass."""
    rng = random.Random(seed)
    seen = []
    running: list[Any] = []
    for step in range(passes):
        for _ in range(rng.choice((0, 0, 1, 3))):
            request = Request(f"at {step}")
            opted_out = rng.random() < 0.1
            order.enter(request, step, point(rng.randrange(1, len(GRID) * 20)), None, opted_out)
            queue.append(request)
        if running and rng.random() < 0.2:  # parked, and now and then in a hurry
            request = running.pop(rng.randrange(len(running)))
            request.output_ids = [1] * rng.randrange(1, 200)
            request._sagesched_place.parked_at = float(step)
            order.enter(request, step, None)
            queue.append(request)
            if rng.random() < 0.3:
                order.hurry(request)
        if queue and rng.random() < 0.1:  # aborted
            del queue[rng.randrange(len(queue))]
        if rng.random() < 0.02:
            order.set_dial(rng.choice((0.0, 0.5, 1.0, 3.0)))
        order.rank(queue, PLACES, no_prefix, running=len(running), spare=SPARE)
        seen += [request.name for request in queue[: PLACES - SPARE]]
        admitted = rng.randrange(PLACES - SPARE + 1)
        running += queue[:admitted]
        del queue[:admitted], running[: max(0, len(running) - 40)]
        order.settle(queue)
    return seen


@given(seed=st.integers(0, 2**32), dial=st.sampled_from([0.0, 0.3, 1.0, 4.0, float("inf")]))
@settings(max_examples=60, deadline=None)
def test_who_can_be_admitted_is_as_if_chosen_in_every_pass(seed: int, dial: float) -> None:
    kept, always = order_and_queue(dial, False), order_and_queue(dial, True)
    assert play(*kept, seed, 120) == play(*always, seed, 120)
    assert kept[0].chosen < always[0].chosen


def test_admissions_alone_choose_once_for_as_many_as_are_spare() -> None:
    order, queue = order_and_queue(1.0, False)
    for number in range(40):
        request = Request(f"r{number}")
        order.enter(request, 0, point(100 + number))
        queue.append(request)
    for _ in range(SPARE + 1):
        order.rank(queue, PLACES, no_prefix, spare=SPARE)
        del queue[0]
    assert order.chosen == 1
    order.rank(queue, PLACES, no_prefix, spare=SPARE)
    assert order.chosen == 2


def test_a_hit_of_somebody_in_the_front_counts_without_a_new_choice() -> None:
    order = make_order(cost=CostModel(memory=1.0, prefill=64.0))
    queue: list[Any] = fill(order, [100] * 30)
    found: dict[str, int] = {}

    def lookup(request: Any) -> int:
        return found.get(request.name, 0)

    order.rank(queue, PLACES, lookup, spare=SPARE)
    found["r7"] = 90
    for _ in range(PLACES):
        order.rank(queue, PLACES, lookup, spare=SPARE)
    assert queue[0].name == "r7"


@pytest.mark.parametrize("moved", [1, 30])
def test_a_queue_that_somebody_else_moved_is_put_in_order_again(moved: int) -> None:
    order = make_order()
    queue: list[Any] = fill(order, list(range(900, 500, -10)))
    order.rank(queue, PLACES, no_prefix, spare=SPARE)
    best = queue[: PLACES - SPARE]
    queue.insert(moved, queue.pop(0))
    order.rank(queue, PLACES, no_prefix, spare=SPARE)
    assert queue[: PLACES - SPARE] == best


def test_hits_are_looked_up_again_where_nothing_else_happens() -> None:
    order = make_order()
    queue: list[Any] = fill(order, [100] * 4)
    asked: list[str] = []

    def lookup(request: Any) -> int:
        asked.append(request.name)
        return 0

    for _ in range(2 * PREFIX_VALID_PASSES):
        order.rank(queue, PLACES, lookup, spare=SPARE)
    assert sorted(asked) == sorted(2 * [f"r{number}" for number in range(4)])
