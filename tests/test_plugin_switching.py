"""Switching policy and dial at run time."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sagesched import switch
from sagesched.lengths import LengthGrid
from sagesched.plugin import fallback
from sagesched.plugin.control import (
    DIAL_KEY,
    POLICY_KEY,
    PURE_FROM,
    Change,
    ControlError,
    as_values,
    read_change,
)
from sagesched.plugin.hooks import scheduler_start
from sagesched.plugin.memory import Memory
from sagesched.plugin.parking import Limits
from sagesched.plugin.settings import Settings

from .operating import make_state, names, order_of
from .test_queue_order import fill, no_prefix


def test_a_dial_that_is_switched_holds_for_parking_and_the_band_too() -> None:
    state = make_state(dial=1.0)
    assert state.parking is not None
    assert state.order is not None
    before, keys = state.parking.limits, state.order.keys
    parking = state.parking
    state.switch([], dial=4.0)
    assert state.parking is parking
    assert state.parking.limits.most_kv_tokens > before.most_kv_tokens
    state.order.rank([], 1, lambda request: 0)
    assert state.order.keys.high - state.order.keys.low > keys.high - keys.low


def test_switched_off_and_on_again() -> None:
    state = make_state()
    order = order_of(state)
    queue: list[Any] = fill(order, [900, 20, 500, 10, 700])
    arrival = list(queue)
    order.rank(queue, 3, no_prefix)
    assert names(queue) == ["r3", "r1", "r2", "r0", "r4"]
    state.switch(queue, in_force=False)
    assert queue == arrival
    assert state.parking is None
    assert state.whatif is not None
    del queue[0]
    assert order.look(queue, no_prefix) is arrival[3]
    state.switch(queue, in_force=True)
    assert state.parking is not None
    assert state.whatif is None
    order.rank(queue, 3, no_prefix)
    assert names(queue) == ["r3", "r1", "r2", "r4"]


@pytest.mark.parametrize("given_up", [False, True])
def test_who_was_parked_before_it_was_off_is_hurried_once_it_is_on(given_up: bool) -> None:
    state = make_state()
    order = order_of(state)
    queue: list[Any] = fill(order, [900, 20, 500, 10, 700])
    for request, since_s in ((queue[4], 7.0), (queue[2], 5.0)):
        request._sagesched_place.parked_at = since_s
    if given_up:  # after an error of parking
        state.parking = None
    else:
        state.switch(queue, in_force=False)
    state.switch(queue, in_force=True)
    assert state.parking is not None
    state.parking.limits = replace(state.parking.limits, most_seconds=10.0)
    state.parking.hurry(order, 14.0)
    order.rank(queue, 5, no_prefix)
    assert names(queue) == ["r3", "r1", "r2", "r4", "r0"]
    state.parking.hurry(order, 18.0)
    order.rank(queue, 5, no_prefix)
    assert names(queue) == ["r2", "r4", "r3", "r1", "r0"]


def test_an_order_that_was_given_up_starts_again_when_it_is_switched_on() -> None:
    state = make_state()
    queue: list[Any] = fill(order_of(state), [900, 20])
    for _ in range(3):
        state.failed(queue)
    assert state.order is None
    state.switch(queue, dial=2.0)
    assert state.order is None
    state.switch(queue, in_force=True, dial=math.inf)
    order_of(state).rank(queue, 2, no_prefix)
    assert names(queue) == ["r1", "r0"]
    assert state.failures == 0


def test_a_dial_holds_from_the_next_pass_on_and_ranks_stay_together() -> None:
    rng = np.random.default_rng(3)
    lengths = rng.integers(1, 4000, 6000).tolist()
    states = [make_state(dial=6.0) for _ in range(2)]
    queues: list[list[Any]] = [fill(order_of(state), lengths) for state in states]
    for dial in (0.0, math.inf, 2.0, 6.0):
        for _ in range(4):
            for state, queue in zip(states, queues, strict=True):
                order_of(state).rank(queue, 20, no_prefix)
            assert names(queues[0]) == names(queues[1])
        for state, queue in zip(states, queues, strict=True):
            state.switch(queue, dial=dial)
    order = order_of(states[0])
    states[0].switch(queues[0], dial=0.0)
    order.rank(queues[0], 20, no_prefix)
    while order._engine.pending:
        order.rank(queues[0], 20, no_prefix)
    assert names(queues[0])[:20] == [f"r{i}" for i in range(20)]
    assert states[0].describe()["dial"] == 0.0


def test_what_is_in_force_is_plain_json() -> None:
    state = make_state(dial=math.inf)
    assert json.loads(json.dumps(state.describe(), allow_nan=False)) == {
        "policy": "gittins",
        "started_with": "gittins",
        "dial": "inf",
        "order": "kept up",
        "parking": "on",
        "admission": "SGLang's",
        "waiting": 0,
    }


def test_parking_is_on_only_where_somebody_may_be_parked() -> None:
    state = make_state()
    assert state.parking is not None
    state.parking.limits = Limits(0, most_parks=0)  # who was retracted is hurried, nobody parked
    state.why_no_parking = lambda: "needs a radix cache"
    assert state.describe()["parking"] == "off (needs a radix cache)"
    state.switch([], in_force=False)
    assert state.describe()["parking"] == "off"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, ""),
        ({"is_mixed_chunk": False}, "needs --enable-mixed-chunk"),
        ({"tree_cache": SimpleNamespace(disable=True)}, "needs a radix cache"),
        ({"enable_priority_scheduling": True}, "not with --enable-priority-scheduling"),
        ({"disaggregation_mode": SimpleNamespace(value="decode")}, "not with --disaggregation"),
        ({"enable_lora": True}, "not with --enable-lora"),
        ({"server_args": SimpleNamespace(pp_size=2)}, "not with --pp-size"),
    ],
)
def test_why_nobody_is_parked(
    change: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_start, "keeps_kv_of_unfinished", lambda: True)
    scheduler = SimpleNamespace(
        enable_priority_scheduling=False,
        disaggregation_mode=SimpleNamespace(value="null"),
        is_mixed_chunk=True,
        tree_cache=SimpleNamespace(disable=False, supports_mamba=lambda: False),
        spec_algorithm=SimpleNamespace(is_none=lambda: True),
        enable_lora=False,
        server_args=SimpleNamespace(pp_size=1),
        max_total_num_tokens=1000,
        max_running_requests=4,
    )
    vars(scheduler).update(change)
    told = scheduler_start._why_no_parking(scheduler, Settings())
    assert told.startswith(why)
    parking = scheduler_start._parking(scheduler, Settings(), 1.0)
    assert (parking is not None and parking.limits.most_parks > 0) == (not told)
    never = Settings(parked_s=0.0)
    assert scheduler_start._why_no_parking(scheduler, never)


def test_an_error_while_the_order_is_given_up_ends_it_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(queue: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("sagesched.plugin.state.stock_order", broken)
    state = make_state()
    before = fallback.count()
    state.failed(fill(order_of(state), [900, 20]))
    assert state.order is None
    assert fallback.count() == before + 1


def test_switched_on_whatever_was_given_up_starts_again() -> None:
    state = make_state()
    state.make_memory = lambda: Memory(LengthGrid(100))
    state.order = state.parking = None
    assert "off" in state.describe()["order"]
    assert state.describe()["parking"] == "off (after an error)"
    state.switch([], in_force=True)
    assert state.describe() == make_state().describe() | {"admission": "by forecast"}
    state.order = state.parking = state.memory = None
    state.switch([], in_force=False)
    assert (state.order, state.parking, state.memory) == (None, None, None)


@pytest.mark.parametrize(
    "change",
    [Change(), Change(True, 2.0), Change(False), Change(None, math.inf), Change(True, 0.0)],
)
def test_a_change_travels_as_numbers(change: Change) -> None:
    values = as_values(change)
    assert all(type(value) in (int, float) and math.isfinite(value) for value in values.values())
    assert read_change(values) == change


@pytest.mark.parametrize(
    "values",
    [
        {DIAL_KEY: -1},
        {DIAL_KEY: math.nan},
        {DIAL_KEY: True},
        {DIAL_KEY: "2"},
        {POLICY_KEY: 2},
        {POLICY_KEY: "gittins"},
        {"sagesched_dail": 1},
        {DIAL_KEY: 1, "pp_max_micro_batch_size": 1},
    ],
)
def test_a_change_that_makes_no_sense_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ControlError, match="expected"):
        read_change(values)


def test_a_dial_beyond_all_others_is_infinite() -> None:
    assert read_change({DIAL_KEY: PURE_FROM}).dial == math.inf


@pytest.mark.parametrize("text", ["-1", "nan", "fast"])
def test_the_command_refuses_a_bad_dial(text: str) -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    switch.add_arguments(parser)
    with pytest.raises(argparse.ArgumentError, match="at least 0"):
        parser.parse_args(["http://x", "--dial", text])


@pytest.mark.parametrize("url", ["nowhere", "ftp://x", "http://127.0.0.1:1"])
def test_the_command_says_that_there_is_no_server(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = argparse.Namespace(url=url, policy=None, dial=2.0, api_key="")
    assert switch.run(options) == 1
    assert url in capsys.readouterr().err


def test_the_command_knows_a_server_without_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch, "_call", lambda *_: {"internal_states": [{"a": 1}]})
    with pytest.raises(switch.SwitchError, match="SAGESCHED_SHADOW=1"):
        switch.switch("http://x", Change(True))
