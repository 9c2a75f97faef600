"""What is counted and logged, and how right predictions were."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagesched.lengths import LengthDistribution
from sagesched.plugin.calibration import DECILES, Calibration, mean_of_middles, shares
from sagesched.plugin.hooks.admission import _were_waiting as were_waiting
from sagesched.plugin.place import place_of
from sagesched.plugin.timing import spent, timed
from sagesched.plugin.watch import MOST_TENANTS, OTHER_TENANTS, Watch, line, since

from .operating import make_state, order_of
from .test_queue_order import GRID, Request, fill, make_order, no_prefix, point


class Unseen:
    """A running request that must not be looked at: there are hundreds in each step."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


@pytest.mark.parametrize("running", [None, [], [Unseen(), Unseen()]])
def test_of_a_mixed_batch_only_the_newcomers_are_looked_at(running: list[Any] | None) -> None:
    queue: list[Any] = fill(order_of(make_state()), [900, 20])
    batch = SimpleNamespace(reqs=[*queue, *(running or [])], decoding_reqs=running)
    assert were_waiting(batch) == queue
    assert were_waiting(SimpleNamespace(batch_to_run=batch)) == queue


def test_passes_and_admissions_out_of_turn_are_counted() -> None:
    state = make_state()
    watch, order = state.watch, order_of(state)
    queue: list[Any] = fill(order, [900, 20, 500])
    for request in queue:
        watch.entered(request, False)
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
        state.watch.entered(request, False)
        state.watch.ranked(True)
    order_of(state).settle([])
    for request in queue:
        request.output_ids = [1] * 5
        order_of(state).enter(request, 9, None)
        state.watch.entered(request, True)
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
    watch.entered(stays, False)
    for step in range(1, 2000):
        request = Request("passes by")
        order.enter(request, step, point(5))
        watch.entered(request, False)
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
        state.watch.entered(request, False)
        state.watch.ranked(True)
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
        state.watch.entered(request, False)
        state.watch.ranked(True)
        state.watch.stepped(state, second)
    assert len(caplog.records) == 3
    for second in range(200, 500):  # nothing comes: nothing to say
        now[0] = float(second)
        state.watch.stepped(state, 200)
    assert len(caplog.records) == 4


def test_what_grew() -> None:
    assert since({("a", ""): 1.0}, {("a", ""): 1.0, ("b", ""): 2.0}) == {("b", ""): 2.0}


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
