"""Which replica the data-parallel controller sends to, with stand-ins for SGLang's objects."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sagesched.balance import Chooser
from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.plugin import fallback
from sagesched.plugin.dispatch_query import is_idle, query_of
from sagesched.plugin.dispatch_start import is_predicting
from sagesched.plugin.hooks.balance_dispatch import from_str
from sagesched.plugin.ledger import MOST_TOLD, UNDER_WAY_S, Ledger
from sagesched.plugin.pulse import STALLED_S
from sagesched.plugin.state import GIVE_UP_AFTER
from sagesched.plugin.wire import PRIVATE_KEY, attach, grid_of_bins, peek

from .dispatching import Load, Stage, request


@dataclass(frozen=True)
class AbortReq:
    """As much of SGLang's as is looked at."""

    rid: str
    abort_all: bool


class Broken(Chooser):
    """Fails at what it is told to fail at."""

    def __init__(self, replicas: int, *what: str) -> None:
        self._what = what
        super().__init__(replicas)

    def _maybe(self, name: str) -> None:
        if name in self._what:
            raise RuntimeError(name)

    def choose(self, query: Any) -> int:
        self._maybe("choose")
        return 0

    def sent(self, index: int, query: Any) -> None:
        self._maybe("sent")

    def finished(self, key: str) -> None: ...

    def observe(self, index: int, load: Any) -> None:
        self._maybe("observe")

    def set_health(self, index: int, ok: bool, *, keeps_cache: bool = False) -> None:
        self._maybe("set_health")


def test_requests_go_where_less_is_queued_and_what_was_sent_counts_at_once() -> None:
    stage = Stage()
    stage.report(
        Load(0, 1.0, num_running_reqs=8, num_waiting_reqs=5, num_waiting_uncached_tokens=5000),
        Load(1, 1.0),
        Load(2, 1.0),
    )
    for i in range(6):
        stage.dispatch(request(f"r{i}"))
    assert sorted(index for index, _ in stage.sent) == [1, 1, 1, 2, 2, 2]


def test_reports_that_come_often_but_late_do_not_hide_what_was_sent() -> None:
    """A snapshot says when it was made; a request of later is not in it."""
    stage = Stage(replicas=2)
    now_s = time.time()
    stage.report(*(Load(i, now_s - 1.0) for i in range(2)))
    for i in range(6):
        stage.dispatch(request(f"old{i}", routed_dp_rank=0))
    stage.report(*(Load(i, now_s - 0.9) for i in range(2)))
    stage.report(*(Load(i, now_s - 0.8) for i in range(2)))
    stage.dispatch(request("next"))
    assert stage.sent[-1] == (1, "next")


def test_a_request_goes_where_its_prefix_is_cached() -> None:
    stage = Stage()
    stage.report(*(Load(i, 1.0) for i in range(3)))
    for i in range(3):
        ids = [1000 * i + j for j in range(640)]
        stage.dispatch(request(f"first{i}", input_ids=ids))
        stage.dispatch(request(f"again{i}", input_ids=[*ids, 7, 8, 9]))
    homes = {rid: index for index, rid in stage.sent}
    assert all(homes[f"first{i}"] == homes[f"again{i}"] for i in range(3))
    assert len(set(homes.values())) == 3


def test_predicted_lengths_count_where_they_are_read() -> None:
    grid = LengthGrid(4096)
    pmf = np.zeros(len(grid))
    pmf[grid.bin_of(1000)] = 1.0
    params = SimpleNamespace(custom_params={"mine": 1})
    attach(params, LengthDistribution(grid, pmf))
    before = dict(params.custom_params)
    query = query_of(request("r", sampling_params=params), True)
    assert query.expected_output == pytest.approx(1000, rel=0.125)
    assert params.custom_params == before  # still there for the scheduler
    assert query_of(request("r", sampling_params=params), False).expected_output is None
    assert query_of(request("r"), True).expected_output is None


@pytest.mark.parametrize("value", ["no list", [], [0.5, 0.6], [float("nan")], {"a": 1}])
def test_a_prediction_that_cannot_be_read_is_none(value: Any) -> None:
    before = fallback.count()
    params = SimpleNamespace(custom_params={PRIVATE_KEY: value})
    with pytest.raises(ValueError, match=r"pmf|bins|distribution"):
        peek(params)
    assert query_of(request("r", sampling_params=params), True).expected_output is None
    assert fallback.count() == before + 1


@pytest.mark.parametrize("max_tokens", [1, 2, 16, 17, 100, 2048, 4097, 131_072])
def test_a_grid_is_known_by_the_number_of_its_bins(max_tokens: int) -> None:
    """All edges but the last, which may be up to a bin further."""
    grid = LengthGrid(max_tokens)
    found = grid_of_bins(len(grid))
    assert len(found) == len(grid)
    assert np.array_equal(found.edges[:-1], grid.edges[:-1])
    assert max_tokens <= found.max_tokens <= max_tokens * 1.125 + 1


def test_no_number_of_bins_makes_a_grid_endless() -> None:
    for bins in (0, -1, 10**6):
        with pytest.raises(ValueError, match="bins"):
            grid_of_bins(bins)


def test_requests_of_a_replica_that_is_gone_fail_and_no_others() -> None:
    stage = Stage()
    for i in range(9):
        stage.dispatch(request(f"r{i}"))
    there = [rid for index, rid in stage.sent if index == 1]
    assert there
    stage.report(Load(1, time.time() + 1, num_running_reqs=len(there)))
    stage.unreachable.add(1)
    stage.report()  # no request comes meanwhile
    assert stage.failed == there[::-1]
    assert (stage.controller.dp_active, stage.controller.status) == ([True, False, True],) * 2
    for i in range(9):
        stage.dispatch(request(f"later{i}"))
    assert {index for index, _ in stage.sent[9:]} == {0, 2}
    stage.dispatch(request("named", routed_dp_rank=1))
    assert stage.failed == [*there[::-1], "named"]


def test_what_was_sent_after_its_last_report_goes_to_others() -> None:
    stage = Stage()
    stage.report(*(Load(i, time.time()) for i in range(3)))
    for i in range(9):
        stage.dispatch(request(f"r{i}"))
    there = [rid for index, rid in stage.sent if index == 1]
    stage.dispatch(request("media", routed_dp_rank=1, mm_inputs=object()))
    stage.dispatch(request("named", routed_dp_rank=1))
    stage.unreachable.add(1)
    stage.dispatch.check()
    assert [rid for _, rid in stage.sent[11:]] == there
    assert {index for index, _ in stage.sent[11:]} <= {0, 2}
    assert sorted(stage.failed) == ["media", "named"]


def test_one_that_cannot_be_sent_again_is_told_and_the_others_go_on() -> None:
    stage = Stage()
    stage.report(*(Load(i, time.time()) for i in range(3)))
    for i in range(9):
        stage.dispatch(request(f"r{i}"))
    send = stage.dispatch

    def again(each: Any) -> None:
        if each.rid == "r1":
            raise RuntimeError
        send(each)

    stage.controller.dispatching_with_trace = again
    (home,) = [index for index, rid in stage.sent if rid == "r1"]
    there = [rid for index, rid in stage.sent if index == home]
    stage.unreachable.add(home)
    stage.dispatch.check()
    assert stage.failed == ["r1"]
    assert [rid for _, rid in stage.sent[9:]] == [rid for rid in there if rid != "r1"]


def test_where_all_are_gone_at_once_all_requests_fail() -> None:
    stage = Stage()
    for i in range(9):
        stage.dispatch(request(f"r{i}"))
    stage.unreachable.update({0, 1, 2})
    stage.dispatch.check()
    assert sorted(stage.failed) == [f"r{i}" for i in range(9)]


def test_a_request_that_meets_the_end_of_a_replica_goes_to_another_one() -> None:
    stage = Stage()
    stage.breaks_on_send.update({0, 1})
    stage.dispatch(request("r"))
    assert stage.sent == [(2, "r")]
    assert stage.failed == []


def test_what_its_last_report_knows_of_is_not_run_twice() -> None:
    """Also where nobody has looked at that report before the replica died."""
    stage = Stage()
    stage.report(*(Load(i, time.time()) for i in range(3)))
    for i in range(9):
        stage.dispatch(request(f"r{i}"))
    there = [rid for index, rid in stage.sent if index == 1]
    stage.loads = [Load(1, time.time() + 1)]
    stage.unreachable.add(1)
    stage.dispatch.check()
    assert sorted(stage.failed) == there
    assert len(stage.sent) == 9


def test_where_its_last_report_cannot_be_read_nothing_is_run_twice() -> None:
    stage = Stage()
    for i in range(9):
        stage.dispatch(request(f"r{i}"))
    stage.unreachable.add(1)
    stage.dispatch.check()
    assert sorted(stage.failed) == [rid for index, rid in stage.sent if index == 1]
    assert len(stage.sent) == 9


@pytest.mark.parametrize("every", [False, True])
def test_whom_nobody_waits_for_is_not_run_again(every: bool) -> None:
    stage = Stage()
    stage.report(*(Load(i, time.time()) for i in range(3)))
    for i in range(9):
        stage.dispatch(request(f"r{i}"))
    there = [rid for index, rid in stage.sent if index == 1]
    stage.dispatch.told(AbortReq("" if every else there[0], every))
    stage.unreachable.add(1)
    stage.dispatch.check()
    assert [rid for _, rid in stage.sent[9:]] == ([] if every else there[1:])
    assert sorted(stage.failed) == (there if every else there[:1])


def test_a_lost_replica_s_requests_are_told_of_in_portions_the_latest_first() -> None:
    failed: list[str] = []
    book = Ledger(1, lambda rid, worker: failed.append(rid))
    for i in range(3 * MOST_TOLD):
        book.sent(0, request(f"r{i}"), float(i))
    book.reported(0, False, 1e9)
    assert book.lost(0) == (3 * MOST_TOLD, [])
    assert failed == [f"r{i}" for i in range(3 * MOST_TOLD - 1, 2 * MOST_TOLD - 1, -1)]
    for _ in range(3):
        book.tell()
    assert len(failed) == 3 * MOST_TOLD


def test_without_any_replica_requests_are_refused() -> None:
    stage = Stage()
    stage.unreachable.update({0, 1, 2})
    stage.dispatch(request("r"))
    assert (stage.sent, stage.failed) == ([], ["r"])


def test_a_request_may_name_its_replica() -> None:
    stage = Stage()
    stage.dispatch(request("r", routed_dp_rank=2))
    assert stage.sent == [(2, "r")]
    stage.dispatch(request("s", routed_dp_rank=3))  # stock ends the controller here
    assert stage.failed == ["s"]


@pytest.mark.parametrize("what", ["choose", "sent", "observe", "set_health"])
def test_an_error_of_ours_fails_no_request_and_ends_ours_after_a_few(what: str) -> None:
    stage, before = Stage(Broken(3, what)), fallback.count()
    for i in range(2 * GIVE_UP_AFTER):
        stage.report(*(Load(j, i + 1.0) for j in range(3) if j or what != "set_health"))
        stage.now_s += STALLED_S / 2
        stage.dispatch(request(f"r{i}"))
    assert [rid for _, rid in stage.sent] == [f"r{i}" for i in range(2 * GIVE_UP_AFTER)]
    assert fallback.count() > before
    if what in ("choose", "sent"):
        assert stage.dispatch.failures == GIVE_UP_AFTER
        assert not stage.dispatch.is_ours


def test_sglangs_total_tokens_chooses_after_errors() -> None:
    stage = Stage(Broken(3, "choose"))
    stage.controller.dp_budget.total_tokens[:] = [300, 20, 100]
    stage.dispatch(request("a", 90))
    stage.dispatch(request("b", 90))
    stage.dispatch(request("c", 90))
    assert [index for index, _ in stage.sent] == [1, 2, 1]


def test_reports_that_cannot_be_read_fail_no_request() -> None:
    stage = Stage()
    stage.controller.load_snapshot_reader.read_all = lambda: 1 / 0
    for i in range(9):
        stage.now_s += 1
        stage.dispatch(request(f"r{i}"))
    assert len(stage.sent) == 9
    assert not stage.dispatch.is_ours


def ledger() -> tuple[Ledger, list[tuple[str, str | None]]]:
    failed: list[tuple[str, str | None]] = []
    return Ledger(2, lambda rid, worker: failed.append((rid, worker)), most=3), failed


def test_an_idle_replica_has_no_open_requests() -> None:
    book, failed = ledger()
    book.sent(0, request("old"), 10.0)
    book.sent(0, request("new"), 20.0)
    book.reported(0, True, 10.0 + UNDER_WAY_S)
    assert len(book) == 2  # one idle report may have missed it
    book.reported(0, True, 20.5)
    assert len(book) == 1
    book.reported(0, False, 30.0)
    book.reported(0, True, 31.0)
    book.lost(0)
    assert failed == [("new", None)]


def test_an_id_that_is_used_again_is_where_it_went_last() -> None:
    book, failed = ledger()
    book.sent(0, request("r"), 1.0)
    book.sent(1, request("r", http_worker_ipc="ipc://w"), 2.0)
    assert book.lost(0) == (0, [])
    book.reported(1, False, 3.0)
    assert book.lost(1) == (1, [])
    assert failed == [("r", "ipc://w")]


def test_the_ledger_is_bounded() -> None:
    book, _ = ledger()
    for i in range(10):
        book.sent(0, request(f"r{i}"), float(i))
    assert len(book) == 3


def test_a_replica_with_a_request_anywhere_is_not_idle() -> None:
    assert is_idle(Load(0, 1.0))
    assert not is_idle(Load(0, 1.0, num_running_reqs=1))
    assert not is_idle(Load(0, 1.0, num_waiting_uncached_tokens=9000))  # a prompt in chunks
    assert not is_idle(Load(0, 1.0, num_used_tokens=512))
    load = Load(0, 1.0)
    load.queues = SimpleNamespace(grammar=1, paused=0, retracted=0)  # type: ignore[assignment]
    assert not is_idle(load)


def test_only_our_names_are_resolved_to_another_one() -> None:
    names = ("sal", "sal-prompt", "round_robin", "total_requests", "SAL")
    found = [from_str(lambda cls, method: method, None, name) for name in names]
    assert found == ["total_tokens", "total_tokens", "round_robin", "total_requests", "SAL"]


def test_predictions_are_there_under_gittins_and_a_shadow(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        policy: is_predicting(SimpleNamespace(schedule_policy=policy))
        for policy in ("gittins", "larry", "fcfs", "lpm")
    }
    assert found == {"gittins": True, "larry": False, "fcfs": False, "lpm": False}
    monkeypatch.setenv("SAGESCHED_SHADOW", "1")
    assert is_predicting(SimpleNamespace(schedule_policy="fcfs"))
