"""Who gives way to whom, without SGLang: ``sagesched.plugin.parking``."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sagesched.cost import CostModel
from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.plugin.order import QueueOrder
from sagesched.plugin.parking import (
    HURRY_S,
    LAST_MOMENT_S,
    MOST_VICTIMS,
    Limits,
    Parking,
)
from sagesched.plugin.place import place_of
from sagesched.predict.defaults import cold_start_pmf

GRID = LengthGrid(4096)
PRIOR = LengthDistribution(GRID, cold_start_pmf(GRID))
LIMITS = Limits(most_kv_tokens=1000, most_parks=2, margin=0.5, most_seconds=10.0)


class Request:
    """As much of SGLang's ``Req`` as parking reads."""

    def __init__(self, name: str, prompt: int = 100, produced: int = 0) -> None:
        self.name = name
        self.origin_input_ids = [1] * prompt
        self.output_ids = [1] * produced
        self.session = self.to_finish = self.beam_group = None
        self.return_logprob = self.skip_radix_cache_insert = False
        self.done = False

    def finished(self) -> bool:
        return self.done

    def __repr__(self) -> str:
        return self.name


def point(tokens: int) -> LengthDistribution:
    pmf = np.zeros(len(GRID))
    pmf[GRID.bin_of(tokens)] = 1.0
    return LengthDistribution(GRID, pmf)


def setting(
    running: list[int], waiting: list[int], dial: float = 4.0
) -> tuple[QueueOrder, list[Any], list[Any]]:
    """An order of requests of these lengths; the running ones came first and left the queue."""
    order = QueueOrder(PRIOR, CostModel(token=1.0, memory=0.0), dial, slots=4)
    batch: list[Any] = [Request(f"run{i}") for i in range(len(running))]
    queue: list[Any] = [Request(f"wait{i}") for i in range(len(waiting))]
    for request, tokens in zip([*batch, *queue], [*running, *waiting], strict=True):
        order.enter(request, 0, point(tokens))
    order.settle(queue)
    order.rank(queue, len(queue), lambda request: 0)
    return order, batch, queue


@pytest.mark.parametrize("dial", [4.0, math.inf])
def test_the_worst_give_way_to_the_best_and_no_others(dial: float) -> None:
    order, batch, _ = setting([1000, 500, 30, 2500], [10, 12], dial)
    victims = [r.name for r in Parking(LIMITS).victims(batch, order)]
    assert victims == ["run3", "run0"]


def test_nobody_gives_way_to_who_is_hardly_better() -> None:
    order, batch, _ = setting([200, 210, 190], [150, 180])
    assert Parking(LIMITS).victims(batch, order) == []
    order, batch, _ = setting([200, 210, 190], [150, 180])
    assert Parking(Limits(1000, margin=0.0)).victims(batch, order)


def test_first_come_first_served_parks_nobody() -> None:
    order, batch, _ = setting([4000, 4000], [1, 1], dial=0.0)
    assert Parking(Limits(1000, margin=0.0)).victims(batch, order) == []


def test_who_may_not_give_way() -> None:
    order, batch, _ = setting([3000] * 8, [10] * 8)
    batch[0].done = True
    batch[1].to_finish = object()
    batch[2].session = object()
    batch[3].return_logprob = True
    batch[4].skip_radix_cache_insert = True
    batch[5].beam_group = object()
    batch[6].output_ids = [1] * 901
    place_of(batch[7]).parks = 2  # type: ignore[union-attr]
    stranger = Request("stranger")
    assert Parking(LIMITS).victims([*batch, stranger], order) == []


def test_a_pass_parks_no_more_than_so_many_and_nobody_twice() -> None:
    order, batch, _ = setting([3000] * 30, [10] * 30)
    parking = Parking(LIMITS)
    first = parking.victims(batch, order)
    assert len(first) == MOST_VICTIMS
    rest = [r for r in batch if r not in first]
    assert not set(parking.victims(rest, order)) & set(first)


def test_who_finished_since_the_last_ranking_is_left_alone() -> None:
    order, batch, _ = setting([3000] * 12, [10] * 30)
    parking = Parking(LIMITS)
    gone = parking.victims(batch, order)
    rest = [r for r in batch if r not in gone]
    rest[0].done = True
    left = rest.pop(1)
    assert not {rest[0], left} & set(parking.victims(rest, order))


def test_who_was_parked_too_long_goes_first() -> None:
    order, batch, queue = setting([3000], [10])
    parking = Parking(LIMITS)
    (victim,) = parking.victims(batch, order)
    parking.park(victim, 5.0)
    queue.append(victim)
    order.enter(victim, 5, None)
    for now_s in (5.0, 14.1):
        parking.hurry(order, now_s)
        order.rank(queue, 2, lambda request: 0)
        assert queue[0].name == "wait0"
    parking.hurry(order, 14.3)  # so that it is back within 10 s
    order.rank(queue, 2, lambda request: 0)
    assert queue[0] is victim


def overdue(parking: Parking, order: QueueOrder, queue: list[Any], *victims: Any) -> None:
    """They were parked, a second after each other, and all have waited for as long as they may."""
    for now_s, victim in enumerate(victims):
        parking.park(victim, float(now_s))
        queue.append(victim)
        order.enter(victim, 5, None)
    parking.hurry(order, 100.0)


@pytest.mark.parametrize("dial", [1.0, 4.0, math.inf])
def test_of_those_parked_too_long_the_first_goes_first(dial: float) -> None:
    order, batch, queue = setting([2000, 3000, 4000], [10], dial)
    parking = Parking(LIMITS)
    overdue(parking, order, queue, batch[2], batch[0], batch[1])
    order.rank(queue, 4, lambda request: 0)
    assert queue == [batch[2], batch[0], batch[1], queue[3]]
    assert queue[3].name == "wait0"


def test_for_who_was_parked_too_long_somebody_gives_way_at_once() -> None:
    """Also who is better by the keys, and was not ranked among the worst when last looked at."""
    order, batch, queue = setting([3000, 20, 30], [])
    parking = Parking(LIMITS)
    running = batch[1:]
    assert parking.victims(running, order) == []
    overdue(parking, order, queue, batch[0])
    assert len(parking.victims(running, order)) == 1


def test_who_was_parked_too_long_is_not_parked_again() -> None:
    order, batch, queue = setting([3000, 3000], [10, 10])
    parking = Parking(LIMITS)
    overdue(parking, order, queue, batch[0])
    queue.remove(batch[0])
    order.settle(queue)  # admitted again
    assert parking.victims(batch, order) == [batch[1]]


def test_at_the_last_moment_also_large_requests_give_way() -> None:
    order, batch, queue = setting([3000, 3000], [])
    parking = Parking(LIMITS)
    batch[1].output_ids = [1] * LIMITS.most_kv_tokens
    queue.append(batch[0])
    order.enter(batch[0], 5, None)
    parking.park(batch[0], 0.0)
    parking.hurry(order, 9.4)
    assert parking.victims(batch[1:], order) == []
    parking.hurry(order, 9.6)
    assert parking.victims(batch[1:], order) == [batch[1]]
    parking.park(batch[1], 9.6)
    order.enter(batch[1], 5, None)
    order.settle([batch[1]])  # the first is back
    parking.hurry(order, 9.7)
    assert not parking._may_give_way(batch[1])  # large, and nobody waits for too long any more


def test_large_requests_give_way_to_no_bystander() -> None:
    order, batch, queue = setting([3000] * 9, [10] * 7)
    parking = Parking(LIMITS)
    for request in batch[1:]:
        request.output_ids = [1] * LIMITS.most_kv_tokens
    queue.append(batch[0])
    order.enter(batch[0], 5, None)
    parking.park(batch[0], 0.0)
    parking.hurry(order, 9.6)
    assert len(parking.victims(batch[1:], order)) == 1


@pytest.mark.parametrize("leaves", [True, False])
def test_who_left_while_the_order_was_made_anew_is_in_no_hurry(leaves: bool) -> None:
    order, batch, queue = setting([3000, 3000], [])
    parking = Parking(replace(LIMITS, fewest_waiting=4))
    overdue(parking, order, queue, batch[0])
    fresh = QueueOrder(PRIOR, CostModel(token=1.0, memory=0.0), 4.0, slots=4)
    if leaves:
        queue.remove(batch[0])
    for request in [Request("new0"), Request("new1")]:
        queue.append(request)
    fresh.settle(queue)
    parking.hurry(fresh, 101.0)
    assert parking._late == (0 if leaves else 1)
    assert parking.victims(batch[1:], fresh) == ([] if leaves else batch[1:])


@pytest.mark.parametrize(
    ("bound_s", "hurries_s", "last_moment_s"), [(10.0, 9.2, 9.5), (3.0, 2.4, 2.5), (1.0, 0.8, 0.8)]
)
def test_a_short_bound_leaves_most_of_it(
    bound_s: float, hurries_s: float, last_moment_s: float
) -> None:
    limits = replace(LIMITS, most_seconds=bound_s)
    assert limits.before_the_bound(HURRY_S) == pytest.approx(hurries_s)
    assert limits.before_the_bound(LAST_MOMENT_S) == pytest.approx(last_moment_s)


def test_at_a_low_dial_nobody_gives_way_to_a_few() -> None:
    limits = Limits.of_dial(1.0, 1000.0)
    few = [10] * (limits.fewest_waiting - 1)
    order, batch, _ = setting([3000], few)
    assert Parking(limits).victims(batch, order) == []
    order, batch, _ = setting([3000], [*few, 10])
    assert Parking(limits).victims(batch, order) == batch
    assert Limits.of_dial(3.0, 1000.0).fewest_waiting == 1


def test_but_to_one_that_was_parked_too_long() -> None:
    order, batch, queue = setting([3000, 3000, 3000], [10, 10])
    parking = Parking(replace(LIMITS, fewest_waiting=4))
    overdue(parking, order, queue, batch[0])
    assert len(parking.victims(batch[1:], order)) == 1  # and not one to each of the others, too


def test_an_order_made_anew_after_an_error_still_hurries() -> None:
    _, batch, queue = order_batch_queue = setting([3000], [10])
    overdue(Parking(LIMITS), order_batch_queue[0], queue, batch[0])
    fresh = QueueOrder(PRIOR, CostModel(token=1.0, memory=0.0), 4.0, slots=4)
    fresh.rank(queue, 2, lambda request: 0)
    assert queue[0] is batch[0]


def test_a_resumed_request_is_forgotten() -> None:
    order, batch, queue = setting([3000], [10])
    parking = Parking(LIMITS)
    (victim,) = parking.victims(batch, order)
    parking.park(victim, 5.0)
    order.enter(victim, 5, None)
    order.settle(queue)  # admitted again
    place = place_of(victim)
    assert place is not None
    assert (place.parked_at, place.parks) == (-1, 1)
    parking.hurry(order, 1000.0)
    assert not parking._away


def test_where_nobody_gives_way_a_retracted_stream_still_goes_first_in_time() -> None:
    order, batch, queue = setting([3000], [10])
    parking = Parking(replace(LIMITS, most_parks=0))
    assert parking.victims(batch, order) == []
    back = batch[0]
    back.output_ids = [1] * 5
    queue.append(back)
    order.enter(back, 5, None)
    parking.retracted(back, 5.0)
    parking.hurry(order, 14.1)
    order.rank(queue, 2, lambda request: 0)
    assert queue[0].name == "wait0"
    parking.hurry(order, 14.3)
    order.rank(queue, 2, lambda request: 0)
    assert queue[0] is back
    place = place_of(back)
    assert place is not None
    assert place.parks == 0


def test_who_has_produced_nothing_is_no_stream_that_waits() -> None:
    order, _, queue = setting([], [10, 3000])
    parking = Parking(LIMITS)
    parking.retracted(queue[1], 0.0)
    parking.hurry(order, 1000.0)
    order.rank(queue, 2, lambda request: 0)
    assert queue[0].name == "wait0"


def test_who_was_ranked_by_other_keys_is_ranked_again() -> None:
    """A dial of 0 parks nobody at once, and one that was just raised need not wait."""
    order, batch, queue = setting([3000] * 8, [10] * 8)
    parking = Parking(LIMITS)
    assert parking.victims(batch, order)
    order.set_dial(0.0)
    order.rank(queue, len(queue), lambda request: 0)
    assert parking.victims(batch, order) == []
    order.set_dial(4.0)
    order.rank(queue, len(queue), lambda request: 0)
    assert parking.victims(batch, order)


@pytest.mark.parametrize("what", ["aborted", "grown", "long parked"])
def test_who_may_give_way_is_looked_at_in_every_pass(what: str) -> None:
    order, batch, _ = setting([3000] * 20, [10] * 20)
    parking = Parking(LIMITS)
    first = parking.victims(batch, order)
    left = [request for request in batch if request not in first]
    for request in left:
        if what == "aborted":
            request.to_finish = object()
        elif what == "grown":
            request.output_ids = [1] * 901
        else:
            place_of(request).overdue = True  # type: ignore[union-attr]
    assert parking.victims(left, order) == []
