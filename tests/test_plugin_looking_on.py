"""Looking on: an order that is kept up and not applied, and models of what it would save."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sagesched.plugin.place import place_of
from sagesched.plugin.whatif import WhatIf

from .operating import make_state, order_of
from .test_queue_order import Request, fill, make_order, no_prefix, point


def test_looking_leaves_the_queue_as_it_is_and_says_who_would_be_first() -> None:
    order = make_order()
    queue: list[Any] = fill(order, [900, 20, 500, 10, 700])
    arrival = list(queue)
    assert order.look(queue, no_prefix) is queue[3]
    assert queue == arrival
    del queue[:2]  # admitted
    assert order.look(queue, no_prefix) is arrival[3]
    assert len(order) == 3


@given(st.data())
def test_whatever_happens_looking_on_changes_nothing(data: st.DataObject) -> None:
    order = make_order(data.draw(st.sampled_from([0.0, 2.0, math.inf])))
    queue: list[Any] = []
    for step in range(data.draw(st.integers(1, 20))):
        for _ in range(data.draw(st.integers(0, 3))):
            request = Request(f"r{step}")
            queue.append(request)
            order.enter(request, step, point(data.draw(st.integers(1, 4096))))
        before = list(queue)
        first = order.look(queue, no_prefix)
        assert queue == before
        assert (first in queue) if queue else first is None
        del queue[: data.draw(st.integers(0, 2))]
        if queue and data.draw(st.booleans()):
            queue.pop(data.draw(st.integers(0, len(queue) - 1)))
        order.settle(queue)
        assert len(order) == len(queue)


def test_a_failure_while_looking_on_does_not_touch_the_queue() -> None:
    state = make_state(in_force=False)
    queue: list[Any] = fill(order_of(state), [900, 20, 500])
    queue.reverse()  # whatever it is
    before = list(queue)
    for _ in range(3):
        state.failed(queue)
    assert queue == before
    assert state.order is None
    assert state.describe()["order"] == "off after 3 errors"


def test_models_that_fail_are_given_up_alone() -> None:
    state = make_state(in_force=False)
    state.what_if(lambda models: models.arrive(None, None, 0))  # type: ignore[arg-type]
    assert state.whatif is None
    assert state.failures == 0


def play(lengths: list[int], dial: float = math.inf) -> WhatIf:
    """Models that are given a burst of requests, and enough steps to serve it."""
    models = WhatIf(make_order(dial), 1)
    real = make_order()
    for request in fill(real, lengths):
        place = place_of(request)
        assert place is not None
        models.arrive(len(request.origin_input_ids), place, 0)
    for step in range(sum(lengths) * 2):
        models.go_on(step, 1, 1)
    return models


def test_the_models_tell_what_the_order_would_save() -> None:
    models = play([400, 10, 300, 20, 15])
    fcfs, gittins = models.models["fcfs"], models.models["gittins"]
    assert fcfs.served == gittins.served == 5
    assert gittins.waited < 0.3 * fcfs.waited
    assert gittins.slowdown < 0.1 * fcfs.slowdown


def test_the_models_agree_where_nothing_is_reordered() -> None:
    models = play([400, 10, 300, 20, 15], dial=0.0)
    assert models.models["fcfs"].waited == models.models["gittins"].waited
    first, again = models.take_counts(), models.take_counts()
    assert first["shadow_requests", "fcfs"] == 5
    assert set(again.values()) == {0.0}


def test_an_idle_engine_empties_the_models() -> None:
    models = WhatIf(make_order(), 1)
    for request in fill(make_order(), [400, 300, 200]):
        place = place_of(request)
        assert place is not None
        models.arrive(len(request.origin_input_ids), place, 0)
    models.go_on(1, 1, 2)
    models.go_on(2, 0, 0)
    for model in models.models.values():
        assert model.served == 3
        assert model.queue == []
