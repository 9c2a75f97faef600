"""Predictions that follow their requests: the messages in a scheduler, through both hooks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sagesched.lengths import LengthDistribution
from sagesched.plugin import fallback
from sagesched.plugin.hooks.control import set_internal_state
from sagesched.plugin.hooks.queue_enter import add_request_to_queue
from sagesched.plugin.order import QueueOrder
from sagesched.plugin.state import STATE
from sagesched.plugin.wire import BINS_KEY, OF_KEY, attach, numbers_of

from .operating import make_state, names, order_of
from .test_queue_order import GRID, no_prefix, point


class Scheduler:
    """As much of SGLang's as the two hooks read."""

    def __init__(self, in_force: bool = True) -> None:
        self.waiting_queue: list[Any] = []
        self.running_batch = SimpleNamespace(reqs=[])
        self.disaggregation_mode = SimpleNamespace(value="null")
        self.forward_ct = 0
        self.state = make_state(in_force=in_force)
        self.policy = SimpleNamespace()
        setattr(self.policy, STATE, self.state)

    def send(self, name: str, sent_s: float = 1.0, *, full: bool = False) -> Any:
        request: Any = type("Req", (), {})()
        params = SimpleNamespace(max_new_tokens=4000, custom_params=None)
        attach(params, None, sent_s=sent_s, follows=True)
        request.rid = request.name = name
        request.origin_input_ids, request.output_ids = [1] * 10, []
        request.priority, request.sampling_params = None, params
        queue: Any = [] if full else self.waiting_queue
        add_request_to_queue(lambda self, req: queue.append(req), self, request)
        assert params.custom_params is None
        return request

    def tell(
        self, rid: str, law: LengthDistribution | None, sent_s: float = 1.0, **values: Any
    ) -> None:
        numbers = {OF_KEY: sent_s} | values if values else numbers_of(sent_s, law)
        message = SimpleNamespace(rid=rid, server_args=numbers)
        assert set_internal_state(stock, self, message) is None  # no answer

    def front(self) -> list[str]:
        order_of(self.state).rank(self.waiting_queue, 8, no_prefix)
        return names(self.waiting_queue)

    def ranked(self) -> dict[str, float]:
        counts = self.state.watch.counts
        return {label: counts["ranked", label] for label in ("predicted", "prior")}


def stock(self: Any, message: Any) -> None:
    raise AssertionError("SGLang was asked")


def test_messages_order_the_queue_and_are_counted_when_they_come() -> None:
    scheduler, before = Scheduler(), fallback.count()
    requests = [scheduler.send(name) for name in ("long", "short", "unknown")]
    assert scheduler.ranked() == {"predicted": 0, "prior": 0}
    scheduler.tell("long", point(3000))
    scheduler.tell("short", point(2))
    scheduler.tell("unknown", None)
    assert scheduler.front() == ["short", "unknown", "long"]
    assert scheduler.ranked() == {"predicted": 2, "prior": 1}
    assert fallback.count() == before
    assert len(requests) == 3


def test_one_that_overtakes_its_request_counts_from_the_start() -> None:
    scheduler = Scheduler()
    scheduler.tell("long", point(3000))
    scheduler.tell("short", point(2))
    requests = [scheduler.send("long"), scheduler.send("short")]
    assert scheduler.front() == ["short", "long"]
    assert scheduler.ranked() == {"predicted": 2, "prior": 0}
    assert len(requests) == 2


@pytest.mark.parametrize("values", [{BINS_KEY: 3, "0": 1.0}, {BINS_KEY: len(GRID), "0": 1.0}])
def test_a_malformed_one_is_counted_and_costs_nobody_a_place(values: dict[str, Any]) -> None:
    scheduler, before = Scheduler(), fallback.count()
    kept = scheduler.send("r")
    scheduler.tell("r", None, **values)
    assert fallback.count() == before + 1
    assert scheduler.front() == ["r"]
    assert scheduler.ranked() == {"predicted": 0, "prior": 1}
    assert scheduler.state.failures == 0
    assert kept.rid == "r"


def test_who_is_turned_away_and_tries_again_gets_its_own() -> None:
    scheduler = Scheduler()
    scheduler.send("r", full=True)
    scheduler.tell("r", None)
    kept = scheduler.send("r", 2.0)
    scheduler.tell("r", point(3), 2.0)
    assert kept._sagesched_place.mean == point(3).mean()
    again = scheduler.send("r", 3.0)
    scheduler.tell("r", point(900), 2.5)  # of one that was aborted meanwhile
    scheduler.tell("r", point(4000), 3.0)
    assert again._sagesched_place.mean == point(4000).mean()
    assert scheduler.ranked() == {"predicted": 2, "prior": 0}


def test_what_comes_while_it_is_switched_off_is_forgotten() -> None:
    scheduler = Scheduler()
    kept = scheduler.send("r")
    order, scheduler.state.order = scheduler.state.order, None
    scheduler.tell("r", point(3))
    scheduler.tell("strange", point(3))
    scheduler.state.order = order
    following = scheduler.state.following
    assert not following._awaited
    assert not following._early
    assert scheduler.front() == [kept.rid]


def test_an_error_of_ours_is_the_stock_order(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = Scheduler()
    requests = [scheduler.send("a"), scheduler.send("b")]

    def fails(*args: Any) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(QueueOrder, "foretell", fails)
    scheduler.tell("b", point(2))
    assert scheduler.state.failures == 1
    assert names(scheduler.waiting_queue) == ["a", "b"]
    assert len(requests) == 2


def test_a_shadow_is_told_when_it_is_known_how_long_the_output_is() -> None:
    scheduler = Scheduler(in_force=False)
    scheduler.state.take_role("")
    scheduler.state._equip()
    kept = scheduler.send("r")
    models = scheduler.state.whatif
    assert models is not None
    assert not models.models["fcfs"].queue
    scheduler.tell("r", point(77))
    (copy,) = models.models["fcfs"].queue
    assert copy.tokens == point(77).quantile(0.5)
    assert kept.rid == "r"
