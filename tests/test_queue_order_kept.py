"""A front that still stands is not chosen again: ``sagesched.plugin.order``."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sagesched.cost import CostModel
from sagesched.plugin.hits import VALID_PASSES
from sagesched.plugin.larry import LarryOrder
from sagesched.plugin.order import MAX_PLACES, QueueOrder
from tests.test_queue_order import PRIOR, Request, fill, make_order, no_prefix, point

PLACES, SPARE = 12, 8
NEEDED = PLACES - SPARE


class Classed(Request):
    """With priority classes."""

    priority: int | None = None


class Life:
    """A random life of a queue. After every pass what can be admitted must be the best there is."""

    def __init__(self, seed: int, kind: str) -> None:
        self.random = random.Random(seed)
        self.names = itertools.count()
        self.hits: dict[str, int] = {}
        self.processed, self.use = 0, 0.2
        self.queue: list[Any] = []
        self.running: list[Any] = []
        self.in_force = True
        self.kept = 0
        draw = self.random.choice
        dial, sign = draw((0.0, 0.3, 1.0, 4.0, math.inf)), draw((0, 0, 1, -1))
        if kind == "larry":
            self.order: QueueOrder = LarryOrder(
                dial, lambda: self.use, lambda: self.processed, sign
            )
        else:
            cost = CostModel(memory=1.0, prefill=draw((0.0, 8.0, 64.0)))
            self.order = QueueOrder(PRIOR, cost, dial, draw((1, 4, 64, 4000)), sign)

    def go_on(self, step: int) -> None:
        chance = self.random.random
        self.processed += self.random.randrange(500)
        if chance() < 0.1:
            self.use = chance()
        for _ in range(40 if step == 0 else self.random.choice((0, 0, 1, 3, 12))):
            self.arrive(step)
        for request in self.queue:
            if chance() < 0.02:
                self.hits[request.name] = self.random.randrange(len(request.origin_input_ids) + 300)
        if self.running and chance() < 0.25:
            self.come_back(step)
        if self.queue and chance() < 0.1:  # aborted
            del self.queue[self.random.randrange(len(self.queue))]
        if chance() < 0.03:
            self.order.set_dial(self.random.choice((0.0, 0.5, 1.0, 3.0, math.inf)))
        if chance() < 0.04:
            self.in_force = not self.in_force
            if not self.in_force:
                self.order.rest(self.queue)
        if self.in_force:
            self.rank()
        else:
            self.order.look(self.queue, self.hit)
        assert set(map(id, self.order._requests.values())) == set(map(id, self.queue))
        assert self.order.backlog == sum(r._sagesched_place.backlog for r in self.queue)
        admitted = self.random.randrange(NEEDED)
        self.running += self.queue[:admitted]
        del self.queue[:admitted], self.running[: max(0, len(self.running) - 40)]
        self.order.settle(self.queue)

    def arrive(self, step: int) -> None:
        request = Classed(f"{next(self.names)}", self.random.choice((0, 1, 50, 100, 100, 2000)))
        request.priority = self.random.choice((None, 0, 1, 2))
        predicted = self.random.choice((None, point(self.random.randrange(1, 4000))))
        limit, opted_out = self.random.choice((None, 1, 300)), self.random.random() < 0.1
        self.order.enter(request, step, predicted, limit, opted_out)
        self.queue.append(request)

    def come_back(self, step: int) -> None:
        """Parked, perhaps in a hurry, or retracted."""
        request = self.running.pop(self.random.randrange(len(self.running)))
        request.output_ids = [1] * self.random.randrange(400)
        if self.random.random() < 0.7:
            request._sagesched_place.parked_at = float(step)
        self.order.enter(request, step, None)
        self.queue.append(request)
        if self.random.random() < 0.4 and request._sagesched_place.parked_at >= 0:
            self.order.hurry(request)

    def rank(self) -> None:
        places = self.random.choice((PLACES, PLACES, PLACES, 40, 200))
        chosen_in = self.order._chosen_in
        self.order.rank(self.queue, places, self.hit, len(self.running), SPARE)
        self.kept += self.order._chosen_in == chosen_in
        needed = min(places - SPARE, MAX_PLACES)
        assert self.queue[:needed] == self.order._best(needed)

    def hit(self, request: Any) -> int:
        return self.hits.get(request.name, 0)


@given(seed=st.integers(0, 2**32), kind=st.sampled_from(["gittins", "larry"]))
@example(seed=28644, kind="gittins")
@settings(max_examples=60, deadline=None)
def test_who_can_be_admitted_is_always_the_best(seed: int, kind: str) -> None:
    life = Life(seed, kind)
    for step in range(100):
        life.go_on(step)


def test_lives_keep_their_front_now_and_then() -> None:
    lives = [Life(seed, kind) for seed in range(20) for kind in ("gittins", "larry")]
    for life in lives:
        for step in range(60):
            life.go_on(step)
    assert sum(life.kept for life in lives) > 200


class Counting(QueueOrder):
    """Counts how often it chose."""

    chosen = 0

    def _best(self, places: int) -> list[Any]:
        self.chosen += 1
        return super()._best(places)


def test_admissions_alone_choose_once_for_as_many_as_are_spare() -> None:
    order = Counting(PRIOR, CostModel(), 1.0)
    queue: list[Any] = fill(order, list(range(100, 140)))
    for _ in range(SPARE + 1):
        order.rank(queue, PLACES, no_prefix, spare=SPARE)
        del queue[0]
    assert order.chosen == 1
    order.rank(queue, PLACES, no_prefix, spare=SPARE)
    assert order.chosen == 2


@pytest.mark.parametrize("asked", [0, 2])
@pytest.mark.parametrize("dial", [3.0, math.inf])
def test_a_long_queue_that_is_ranked_anew_in_slices(dial: float, asked: int) -> None:
    """Also where somebody asks for the best between two passes: that goes on with a slice."""
    order = QueueOrder(PRIOR, CostModel(), 0.2)
    queue: list[Any] = [Request(f"{number}") for number in range(9000)]
    for step, request in enumerate(queue):
        order.enter(request, step, point(1 + step * 37 % 4000))
    order.rank(queue, PLACES, no_prefix, spare=SPARE)
    order.set_dial(dial)
    for _ in range(4):
        order.rank(queue, PLACES, no_prefix, spare=SPARE)
        for _ in range(asked):
            order.best_keys(1)
    assert not order._engine.pending
    order.rank(queue, PLACES, no_prefix, spare=SPARE)
    assert queue[:NEEDED] == order._best(NEEDED)


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
    best = queue[:NEEDED]
    queue.insert(moved, queue.pop(0))
    order.rank(queue, PLACES, no_prefix, spare=SPARE)
    assert queue[:NEEDED] == best


def test_who_comes_back_before_anybody_noticed_takes_its_new_place() -> None:
    order = make_order()
    queue: list[Any] = fill(order, [100, 200, 300])
    order.rank(queue, PLACES, no_prefix, spare=SPARE)
    last = queue.pop()
    last.output_ids = [1] * 299  # all but done
    order.enter(last, 1, None)
    queue.append(last)
    order.rank(queue, PLACES, no_prefix, spare=SPARE)
    assert queue == order._best(3)
    assert queue[0] is last


def test_hits_are_looked_up_again_where_nothing_else_happens() -> None:
    order = make_order()
    queue: list[Any] = fill(order, [100] * 4)
    asked: list[str] = []

    def lookup(request: Any) -> int:
        asked.append(request.name)
        return 0

    for _ in range(2 * VALID_PASSES):
        order.rank(queue, PLACES, lookup, spare=SPARE)
    assert sorted(asked) == sorted(2 * [f"r{number}" for number in range(4)])
