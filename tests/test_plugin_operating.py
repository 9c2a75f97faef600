"""Looking on, switching, opting out, and what is counted: without SGLang."""

from __future__ import annotations

import argparse
import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagesched import switch
from sagesched.lengths import LengthDistribution
from sagesched.plugin.calibration import DECILES, Calibration, mean_of_middles, shares
from sagesched.plugin.control import (
    DIAL_KEY,
    POLICY_KEY,
    PURE_FROM,
    Change,
    ControlError,
    as_values,
    read_change,
)
from sagesched.plugin.order import QueueOrder
from sagesched.plugin.parking import Limits, Parking
from sagesched.plugin.place import place_of
from sagesched.plugin.state import SchedulerState, TokenizerState
from sagesched.plugin.timing import spent, timed
from sagesched.plugin.watch import MOST_TENANTS, OTHER_TENANTS, Watch, line, since
from sagesched.plugin.whatif import WhatIf

from .test_queue_order import GRID, KV_VOLUME, PRIOR, Request, fill, make_order, no_prefix, point

SLOTS = 4


def make_state(*, in_force: bool = True, dial: float = math.inf) -> SchedulerState:
    return SchedulerState(
        lambda dial: QueueOrder(PRIOR, KV_VOLUME, dial, SLOTS),
        lambda dial: Parking(Limits.of_dial(dial, 1000.0)),
        SLOTS,
        dial,
        in_force=in_force,
    )


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


def order_of(state: SchedulerState) -> QueueOrder:
    assert state.order is not None
    return state.order


def names(queue: list[Any]) -> list[str]:
    return [request.name for request in queue]


# Looking on.


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


# Switching.


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
        "dial": "inf",
        "order": "kept up",
        "waiting": 0,
    }


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


# Opting out, and what a client can and cannot gain.


def enter_all(order: QueueOrder, *requests: tuple[str, int, bool]) -> list[Any]:
    """Queue of (name, true and predicted length, opted out), all in step 0."""
    queue: list[Any] = []
    for name, tokens, opted_out in requests:
        request = Request(name)
        order.enter(request, 0, point(tokens), None, opted_out)
        queue.append(request)
    return queue


@pytest.mark.parametrize("dial", [3.0, math.inf])
def test_who_opted_out_is_ranked_as_the_average_whatever_is_predicted(dial: float) -> None:
    order = make_order(dial)
    traffic = fill(order, [5, 4000] * 300)  # what is seen: average in between
    order.settle([])
    assert traffic
    queue = enter_all(
        order,
        ("long", 4000, False),
        ("off, long", 4000, True),
        ("off, short", 1, True),
        ("short", 5, False),
    )
    order.rank(queue, 4, no_prefix)
    assert names(queue) == ["short", "off, long", "off, short", "long"]


def test_among_those_who_opted_out_arrival_decides() -> None:
    order = make_order(3.0)
    fill(order, [5, 4000] * 50)
    order.settle([])
    queue: list[Any] = []
    rng = np.random.default_rng(1)
    for step in range(60):
        request = Request(f"r{step}", prompt=int(rng.integers(1, 3000)))
        order.enter(request, step, point(int(rng.integers(1, 4000))), None, True)
        queue.append(request)
        order.rank(queue, 60, no_prefix)
    assert names(queue) == [f"r{i}" for i in range(60)]


@pytest.mark.parametrize("dial", [0.0, 1.0, 6.0])
def test_the_average_follows_the_dial_and_the_traffic(dial: float) -> None:
    order = make_order(2.0)
    queue = enter_all(order, ("off", 4000, True))
    for step in range(200):
        request = Request(f"r{step}")
        order.enter(request, step, point(50 + step), None)
        queue.append(request)
    order.set_dial(dial)
    order.rank(queue, 50, no_prefix)
    keys, handle = order.keys, queue[names(queue).index("off")]._sagesched_place.handle
    centre = order._anchor.centre
    expected = keys.weight * min(max(centre, keys.low), keys.high) if keys.weight else 0.0
    assert order._engine.key(handle) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_who_opted_out_is_never_parked() -> None:
    order = make_order(3.0)
    fill(order, [5, 4000] * 50)
    order.settle([])
    queue = enter_all(order, ("off", 4000, True), ("long", 4000, False), ("short", 1, False))
    running = queue[:2]
    del queue[:2]
    order.rank(queue, 1, no_prefix)
    for request in running:
        request.output_ids = [1] * 3
        request.finished = lambda: False
        request.to_finish = request.beam_group = None
        request.return_logprob = request.skip_radix_cache_insert = False
    victims = Parking(Limits(most_kv_tokens=1000)).victims(running, order)
    assert names(victims) == ["long"]


def keys_with_limits(limits: list[int | None]) -> list[float]:
    """Keys of equal prompts, as predicted alike and with limits of their own."""
    pmf = np.zeros(len(GRID))
    pmf[[GRID.bin_of(n) for n in (400, 600, 900)]] = 1 / 3
    tokenizer = TokenizerState(None, 4096)
    order = make_order(3.0)
    fill(order, [100, 400, 900] * 40)
    order.settle([])
    queue: list[Any] = []
    for limit in limits:
        params = SimpleNamespace(max_new_tokens=limit)
        fitted = tokenizer.fitted(LengthDistribution(GRID, pmf), params, 100)
        request = Request("r")
        order.enter(request, 0, fitted, limit)
        queue.append(request)
    sent = list(queue)
    order.rank(queue, len(queue), no_prefix)
    while order._engine.pending:
        order.rank(queue, len(queue), no_prefix)
    return [order._engine.key(request._sagesched_place.handle) for request in sent]


def test_a_limit_above_what_is_predicted_changes_nothing_however_large() -> None:
    without, *others = keys_with_limits([None, 1000, 3996, 10**6, 2**40])
    assert others == [without] * len(others)


def test_a_limit_below_is_a_true_one_and_gains_no_more_than_the_band() -> None:
    """It will be stopped there; below the band's lower end a still smaller limit gains nothing."""
    keys = keys_with_limits([None, 900, 100, 20, 1])
    assert keys[0] == keys[1] > keys[2] >= keys[3] >= keys[4]
    assert keys_with_limits([2, 1])[0] == keys_with_limits([2, 1])[1]


def test_splitting_a_prompt_gains_no_more_than_the_reach() -> None:
    """Ten pieces of a long request, each as short as can be, do not overtake who came a reach
    before, and among short ones they keep their turn."""
    order = make_order(1.0)
    traffic = fill(order, [20, 200, 2000] * 50)
    order.settle([])
    assert traffic
    order.rank([], 1, no_prefix)
    reach = math.ceil(order.keys.reach)
    queue: list[Any] = [Request("old and long")]
    order.enter(queue[0], 0, point(4000))
    for i in range(10):
        piece = Request(f"piece{i}")
        order.enter(piece, 4 * reach, point(1))
        queue.append(piece)
    order.rank(queue, 11, no_prefix)
    assert 4 * reach > order.keys.reach
    assert names(queue)[0] == "old and long"
    assert names(queue)[1:] == [f"piece{i}" for i in range(10)]
    honest = Request("honest and short")
    order.enter(honest, 4 * reach - 1, point(15))
    queue.append(honest)
    order.rank(queue, 12, no_prefix)
    assert names(queue)[1] == "honest and short"


# What is counted.


def test_passes_and_admissions_out_of_turn_are_counted() -> None:
    state = make_state()
    watch, order = state.watch, order_of(state)
    queue: list[Any] = fill(order, [900, 20, 500])
    for request in queue:
        watch.entered(request, True, False)
    order.rank(queue, 3, no_prefix)
    watch.passed(queue[0], len(queue), True)
    admitted = [queue.pop(0)]
    order.settle(queue)
    watch.admitted(admitted, 30, len(queue))
    assert admitted[0].name == "r1"
    assert watch.counts["passes", "changed"] == 1
    assert watch.counts["admissions", "ahead"] == 1
    assert watch.counts["slowdown", "sum"] == pytest.approx(30 / 20, rel=0.1)
    admitted = queue[:]
    queue.clear()
    order.settle(queue)
    watch.admitted(admitted, 30, 0)
    assert watch.counts["admissions", "in_turn"] == 2
    assert watch.oldest(0) is None


def test_a_request_that_comes_back_is_no_new_one() -> None:
    state = make_state()
    queue: list[Any] = fill(order_of(state), [900, 20])
    for request in queue:
        state.watch.entered(request, True, False)
    order_of(state).settle([])
    for request in queue:
        request.output_ids = [1] * 5
        order_of(state).enter(request, 9, None)
        state.watch.entered(request, False, True)
    assert state.watch.counts["ranked", "predicted"] == 2
    assert state.watch.counts["retracted", "memory"] == 2
    order_of(state).settle([])
    state.watch.admitted(queue, 12, 0)
    assert "slowdown" not in {metric for metric, _ in state.watch.counts}


def test_watching_who_left_takes_no_memory_for_ever() -> None:
    order = make_order()
    watch = Watch()
    stays = Request("stays")
    order.enter(stays, 0, point(4000))
    watch.entered(stays, True, False)
    for step in range(1, 2000):
        request = Request("passes by")
        order.enter(request, step, point(5))
        watch.entered(request, True, False)
        order.settle([stays])
        assert watch.oldest(len(order)) is place_of(stays)
    assert len(watch._waiting) < 100


def test_tenants_are_counted_up_to_a_number() -> None:
    order, watch = make_order(), Watch()
    for i in range(MOST_TENANTS + 5):
        request = Request("r")
        order.enter(request, 0, point(10))
        place = place_of(request)
        assert place is not None
        place.tenant = f"t{i}"
        watch.admitted([request], 5, 1)
    tenants = {label for metric, label in watch.counts if metric == "tenant_requests"}
    assert len(tenants) == MOST_TENANTS + 1
    assert watch.counts["tenant_requests", OTHER_TENANTS] == 5


def test_the_log_line_names_no_request() -> None:
    state = make_state(in_force=False)
    queue: list[Any] = fill(order_of(state), [900, 20, 500])
    for request in queue:
        state.watch.entered(request, True, False)
    state.watch.passed(order_of(state).look(queue, no_prefix), 3, False)
    text = line(state.watch.counts, state, 7)
    for part in (
        "looking on, dial inf",
        "3 requests ranked (0 without a prediction)",
        "1 of 1 passes would have been out of arrival order",
        "3 waiting",
        "oldest for 7 steps",
    ):
        assert part in text


def test_a_line_is_written_once_a_minute_at_most(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    monkeypatch.setattr("sagesched.plugin.watch.perf_counter", lambda: now[0])
    caplog.set_level("INFO", "sagesched")
    state = make_state()
    for second in range(200):
        now[0] = float(second)
        request = Request(f"r{second}")
        order_of(state).enter(request, second, point(5))
        state.watch.entered(request, True, False)
        state.watch.stepped(state, second)
    assert len(caplog.records) == 3
    for second in range(200, 500):  # nothing comes: nothing to say
        now[0] = float(second)
        state.watch.stepped(state, 200)
    assert len(caplog.records) == 4


def test_what_grew() -> None:
    assert since({("a", ""): 1.0}, {("a", ""): 1.0, ("b", ""): 2.0}) == {("b", ""): 2.0}


def play(lengths: list[int], dial: float = math.inf) -> WhatIf:
    """Models that are given a burst of requests, and enough steps to serve it."""
    models = WhatIf(make_order(dial), 1)
    real = make_order()
    for request in fill(real, lengths):
        place = place_of(request)
        assert place is not None
        models.arrive(request, place, 0)
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
        models.arrive(request, place, 0)
    models.go_on(1, 1, 2)
    models.go_on(2, 0, 0)
    for model in models.models.values():
        assert model.served == 3
        assert model.queue == []


@given(st.integers(1, 4096), st.integers(0, 2**32 - 1))
def test_a_length_is_shared_out_among_the_tenths_it_may_lie_in(tokens: int, seed: int) -> None:
    pmf = np.random.default_rng(seed).dirichlet(np.full(len(GRID), 0.1))
    found = shares(LengthDistribution(GRID, pmf), tokens)
    assert len(found) == DECILES
    assert min(found) >= 0.0
    assert sum(found) == pytest.approx(1.0)


def test_calibrated_predictions_fill_all_tenths_alike() -> None:
    rng = np.random.default_rng(4)
    calibration = Calibration()
    for i in range(4000):
        law = LengthDistribution(GRID, rng.dirichlet(np.full(len(GRID), 0.2)))
        calibration.expect(str(i), law)
        bin_ = int(rng.choice(len(GRID), p=law.pmf))
        low = 0 if bin_ == 0 else int(GRID.edges[bin_ - 1])
        calibration.end(str(i), int(rng.integers(low + 1, int(GRID.edges[bin_]) + 1)))
    assert calibration.ended == 4000
    assert sum(calibration.deciles) == pytest.approx(4000)
    assert np.allclose(np.array(calibration.deciles) / 400, 1.0, atol=0.15)
    assert calibration.coverage == pytest.approx(0.8, abs=0.03)
    assert calibration.real / calibration.predicted == pytest.approx(1.0, abs=0.05)


def test_lengths_that_are_too_long_for_their_predictions_show() -> None:
    calibration = Calibration()
    law = LengthDistribution(
        GRID, np.where(GRID.edges <= 100, 1.0, 0.0) / (GRID.edges <= 100).sum()
    )
    for i in range(10):
        calibration.expect(str(i), law)
        calibration.end(str(i), 3000)
    assert calibration.deciles[-1] == 10
    assert calibration.coverage == 0.0
    calibration.end("unknown", 5)
    calibration.expect("aborted", law)
    calibration.forget("aborted")
    calibration.end("aborted", 5)
    assert calibration.ended == 10


def test_a_mean_lies_in_the_middle_of_its_bin() -> None:
    assert mean_of_middles(point(1)) == 1.0
    bin_ = GRID.bin_of(1000)
    middle = (GRID.edges[bin_ - 1] + 1 + GRID.edges[bin_]) / 2
    assert mean_of_middles(point(1000)) == middle


def test_only_our_own_time_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("sagesched.plugin.timing.perf_counter", lambda: now[0])
    monkeypatch.setattr(spent, "on", True)
    monkeypatch.setattr(spent, "seconds", 0.0)

    def takes(seconds: float) -> None:
        now[0] += seconds

    @timed
    def inner(original: Any) -> None:
        takes(1.0)
        original()
        takes(2.0)

    @timed
    def outer(original: Any) -> None:
        takes(10.0)
        original()

    outer(lambda: inner(lambda: takes(1000.0)))
    assert spent.seconds == 13.0
    with pytest.raises(ZeroDivisionError):
        outer(lambda: 1 / 0)
    assert spent.seconds == 23.0
