"""The order of one waiting queue, without SGLang: ``sagesched.plugin.order``."""

from __future__ import annotations

import gc
import math
import random
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagesched.cost import CostModel
from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.plugin.hits import LOOK_UPS_PER_PASS
from sagesched.plugin.order import (
    MAX_PLACES,
    QueueOrder,
    stock_order,
)
from sagesched.plugin.place import place_of
from sagesched.predict.defaults import cold_start_pmf

GRID = LengthGrid(4096)
PRIOR = LengthDistribution(GRID, cold_start_pmf(GRID))
KV_VOLUME = CostModel()


class Request:
    """As much of SGLang's ``Req`` as the order may read; anything else raises."""

    def __init__(self, name: str, prompt: int = 100, produced: int = 0) -> None:
        self.name = name
        self.origin_input_ids = [1] * prompt
        self.output_ids = [1] * produced

    @property
    def sampling_params(self) -> None:
        raise AssertionError("the order read a request's sampling parameters")

    def __repr__(self) -> str:
        return self.name


def point(tokens: int) -> LengthDistribution:
    pmf = np.zeros(len(GRID))
    pmf[GRID.bin_of(tokens)] = 1.0
    return LengthDistribution(GRID, pmf)


def make_order(dial: float = math.inf, cost: CostModel = KV_VOLUME) -> QueueOrder:
    return QueueOrder(PRIOR, cost, dial)


def no_prefix(request: Any) -> int:
    return 0


def fill(order: QueueOrder, lengths: list[int], step: int = 0) -> list[Request]:
    queue = [Request(f"r{i}") for i in range(len(lengths))]
    for request, tokens in zip(queue, lengths, strict=True):
        order.enter(request, step, point(tokens))
    return queue


def test_shortest_comes_first_and_the_rest_keeps_arrival_order() -> None:
    order = make_order()
    queue = fill(order, [900, 20, 500, 10, 700])
    order.rank(queue, 2, no_prefix)
    assert [r.name for r in queue] == ["r3", "r1", "r0", "r2", "r4"]


def test_dial_zero_is_first_come_first_served() -> None:
    order = make_order(0.0)
    queue = [Request("old"), Request("new")]
    order.enter(queue[0], 10, point(2000))
    order.enter(queue[1], 11, point(1))
    order.rank(queue, 2, no_prefix)
    assert [r.name for r in queue] == ["old", "new"]


def test_an_old_request_is_not_overtaken_for_ever() -> None:
    order = make_order(1.0)
    long_one = Request("long")
    queue: list[Any] = [long_one]
    order.enter(long_one, 0, point(4000))
    for step in (1, 1_000_000):
        short = Request(f"short at {step}")
        queue.append(short)
        order.enter(short, step, point(4))
    order.rank(queue, 3, no_prefix)
    assert [r.name for r in queue] == ["short at 1", "long", "short at 1000000"]


def test_equal_requests_are_served_in_arrival_order() -> None:
    order = make_order()
    queue = fill(order, [50] * 40)
    shuffled = queue[::-1]
    order.rank(shuffled, 40, no_prefix)
    assert shuffled == queue


def test_request_without_prediction_is_ranked_by_the_mean_of_what_was_seen() -> None:
    order = make_order()
    queue: list[Any] = fill(order, [1000] * 400)
    bare = Request("bare")
    shorter, longer = Request("shorter"), Request("longer")
    order.enter(bare, 0, None)
    order.enter(longer, 0, point(4000))
    order.enter(shorter, 0, point(5))
    queue = [*queue, bare, longer, shorter]
    order.rank(queue, len(queue), no_prefix)
    assert queue.index(shorter) < queue.index(bare) < queue.index(longer)


def test_that_mean_follows_what_is_predicted_between_two_without() -> None:
    order = make_order()
    fill(order, [1000] * 400)
    found = []
    for name in ("before", "at once", "later"):
        if name == "later":
            fill(order, [5] * 400)
        request = Request(name)
        order.enter(request, 0, None)
        place = place_of(request)
        assert place is not None
        found.append(place.distribution)
    before, at_once, later = found
    assert before.pmf.tolist() == at_once.pmf.tolist()
    assert later.mean() < before.mean() / 1.3
    expected = LengthDistribution.of_distributions(order.grid, order._prior_pmf)
    assert later.pmf.tolist() == expected.pmf.tolist()


def test_running_requests_come_with_the_keys_they_would_wait_with() -> None:
    order = make_order(dial=1.0)
    running: list[Any] = fill(order, [900, 20, 4000, 300, 5])
    order.rank(list(running), 5, lambda request: len(request.origin_input_ids))
    expected = {r.name: order._engine.key(place_of(r).handle) for r in running}  # type: ignore[union-attr]
    order.settle([])
    found = order.worst_first(running)
    keys = [key for key, _ in found]
    assert keys == sorted(keys, reverse=True)
    assert len(set(keys)) > 1
    assert {r.name for _, r in found} == set(expected)
    assert found[0][1].name == max(expected, key=lambda name: expected[name])


def test_uncached_prefill_counts_and_lookups_are_bounded() -> None:
    order = make_order(cost=CostModel(memory=1.0, prefill=64.0))
    queue: list[Any] = fill(order, [100] * 30)
    asked: list[Any] = []

    def lookup(request: Any) -> int:
        asked.append(request)
        return 90 if request.name == "r1" else 0

    order.rank(queue, 30, lookup)
    assert len(asked) == LOOK_UPS_PER_PASS
    assert queue[0].name == "r1"
    order.rank(queue, 30, lookup)
    assert len(asked) == 2 * LOOK_UPS_PER_PASS
    assert len(set(asked)) == len(asked), "a fresh hit was looked up again"


def test_retracted_request_keeps_its_arrival_and_is_ranked_at_its_age() -> None:
    order = make_order()
    pmf = np.zeros(len(GRID))
    pmf[[GRID.bin_of(20), GRID.bin_of(2000)]] = 0.5
    both = LengthDistribution(GRID, pmf)
    aged, young = Request("aged"), Request("young")
    order.enter(aged, 0, both)
    order.settle([])
    assert len(order) == 0
    aged.output_ids = [1] * 100  # past the short mode: surely a long one
    order.enter(aged, 50, None)
    order.enter(young, 50, both)
    queue: list[Any] = [aged, young]
    order.rank(queue, 2, no_prefix)
    assert [r.name for r in queue] == ["young", "aged"]
    place = place_of(aged)
    assert place is not None
    assert place.arrival == 0


def test_requests_that_left_hold_no_slot_and_no_memory() -> None:
    order = make_order()
    queue: list[Any] = fill(order, [10, 20, 30, 40, 50])
    order.rank(queue, 3, no_prefix)
    alive = weakref.ref(queue[0])
    del queue[:2]  # admitted from the front
    del queue[1]  # aborted in the middle
    order.settle(queue)
    gc.collect()
    assert len(order) == len(queue) == 2
    assert alive() is None


def test_entering_twice_holds_one_slot() -> None:
    order = make_order()
    (request,) = queue = fill(order, [10])
    order.enter(request, 5, None)
    assert len(order) == 1
    order.settle([])
    assert len(order) == 0
    assert queue


def test_unannounced_request_in_the_queue_is_ranked_too() -> None:
    order = make_order()
    queue: list[Any] = [*fill(order, [3000, 3000]), Request("unannounced")]
    order.rank(queue, 3, no_prefix)
    assert len(order) == 3
    assert queue[0].name == "unannounced"  # the prior is shorter than 3000


def test_a_swap_that_leaves_the_count_equal_is_noticed() -> None:
    order = make_order()
    queue: list[Any] = fill(order, [10, 20])
    queue[0] = Request("unannounced")
    order.rank(queue, 2, no_prefix)
    assert {r.name for r in queue} == {"unannounced", "r1"}
    assert len(order) == 2
    order.rank(queue, 2, no_prefix)
    assert queue[0].name == "r1"


def test_stock_order_is_arrival_order() -> None:
    order = make_order()
    queue: list[Any] = fill(order, [900, 20, 500, 10])
    arrival = list(queue)
    order.rank(queue, 4, no_prefix)
    assert queue != arrival
    stock_order(queue)
    assert queue == arrival


@pytest.mark.parametrize("dial", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("opted_out", [False, True])
def test_nobody_is_overtaken_by_who_comes_a_reach_later(dial: float, opted_out: bool) -> None:
    """Overload: four places, twice as much work as they can do. Who is admitted came less than the
    reach of that pass after everyone who still waits."""
    order = QueueOrder(PRIOR, KV_VOLUME, dial, slots=4)
    rng = random.Random(7)
    queue: list[Any] = []
    lengths: dict[Any, int] = {}
    running: list[int] = []  # ends in that step
    overtook = 0
    for step in range(4000):
        running = [end for end in running if end > step]
        if step % 25 == 0:
            tokens = 4000 if step == 0 else round(rng.lognormvariate(4.8, 1.0)) + 1
            request = Request(f"r{step}")
            lengths[request] = min(tokens, 4096)
            order.enter(request, step, point(lengths[request]), None, opted_out and step % 3 == 0)
            queue.append(request)
        order.rank(queue, 4 - len(running) + 16, no_prefix, len(running))
        while len(running) < 4 and queue:
            first = queue.pop(0)
            running.append(step + lengths[first])
            order.settle(queue)
            arrival = first._sagesched_place.arrival
            earliest = min((r._sagesched_place.arrival for r in queue), default=arrival)
            assert arrival - earliest < order.keys.reach
            overtook += arrival > earliest
    assert overtook > 20


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_queue_and_engine_agree_through_any_history(data: st.DataObject) -> None:
    """Arrivals, admissions, aborts and retractions in any order: same set, best at the front."""
    order = make_order(data.draw(st.sampled_from([0.0, 2.0, math.inf])))
    queue: list[Any] = []
    gone: list[Request] = []
    for step in range(data.draw(st.integers(1, 25))):
        for _ in range(data.draw(st.integers(0, 3))):
            request = Request(f"r{step}", prompt=data.draw(st.integers(0, 300)))
            queue.append(request)
            order.enter(request, step, point(data.draw(st.integers(1, 4096))))
        if gone and data.draw(st.booleans()):
            request = gone.pop()
            request.output_ids = [1] * data.draw(st.integers(1, 5000))
            queue.append(request)
            order.enter(request, step, None)
        everyone = set(queue)
        places = data.draw(st.integers(1, 6))
        order.rank(queue, places, no_prefix)
        assert set(queue) == everyone
        assert len(queue) == len(everyone) == len(order)
        keys = [order._engine.key(r._sagesched_place.handle) for r in queue]
        assert keys[:places] == sorted(keys)[:places]
        gone += [queue.pop(0) for _ in range(min(len(queue), data.draw(st.integers(0, places))))]
        if queue and data.draw(st.booleans()):
            queue.pop(data.draw(st.integers(0, len(queue) - 1)))
        order.settle(queue)
        assert len(order) == len(queue)


def test_work_per_pass_does_not_grow_with_the_slots() -> None:
    order = make_order()
    queue: list[Any] = fill(order, [3000] * 500 + [20, 10])
    order.rank(queue, 4096, no_prefix)
    assert [r.name for r in queue[:3]] == ["r501", "r500", "r0"]
    assert len(order._front) == MAX_PLACES


def test_a_fresh_order_keeps_the_arrival_of_requests_that_have_one() -> None:
    queue: list[Any] = fill(make_order(), [10, 10, 10], step=3)
    fresh = make_order()
    late = [Request("late0"), Request("late1")]
    for request in late:
        fresh.enter(request, 9, point(10))
    queue = [*late, *queue]
    stock_order(queue)
    assert [r.name for r in queue] == ["r0", "r1", "r2", "late0", "late1"]
    fresh.rank(queue, 5, no_prefix)
    assert len(fresh) == 5


def test_order_is_the_same_whatever_the_object_addresses() -> None:
    names = []
    for _ in range(2):
        ballast = [object() for _ in range(1000)]
        order = make_order(3.0)
        rng = np.random.default_rng(7)
        queue: list[Any] = fill(order, rng.integers(1, 4000, 300).tolist())
        order.rank(queue, 300, no_prefix)
        names.append([r.name for r in queue])
        del ballast
    assert names[0] == names[1]


def test_ranks_agree_while_a_long_queue_is_rebuilt_slice_by_slice() -> None:
    rng = np.random.default_rng(5)
    lengths = rng.integers(1, 200, 5000).tolist()
    ranks = [make_order(3.0) for _ in range(2)]
    queues: list[list[Any]] = [fill(order, lengths) for order in ranks]
    for order, queue in zip(ranks, queues, strict=True):
        while order._engine.pending:
            order.rank(queue, 50, no_prefix)
        order._anchor._service *= 4  # S follows the traffic: a new weight for everybody
        order._follow()
    assert ranks[0]._engine.pending == 5000
    while ranks[0]._engine.pending:
        for order, queue in zip(ranks, queues, strict=True):
            order.rank(queue, 50, no_prefix)
        names = [[r.name for r in queue] for queue in queues]
        assert names[0] == names[1]
    keys = [ranks[0]._engine.key(r._sagesched_place.handle) for r in queues[0]]
    assert keys[:50] == sorted(keys)[:50]


@pytest.mark.parametrize("weight", [0.0, 2.0, math.inf])
def test_an_empty_queue_is_fine(weight: float) -> None:
    order = make_order(weight)
    queue: list[Any] = []
    order.rank(queue, 8, no_prefix)
    order.settle(queue)
    assert len(order) == 0
