"""Which replicas the data-parallel controller takes to be alive, and sends to."""

from __future__ import annotations

from sagesched.plugin.pulse import STALLED_S, Pulse

from .dispatching import Load, Stage, request


def test_a_replica_that_stopped_reporting_gets_nothing_until_it_reports_again() -> None:
    stage = Stage()
    stage.report(*(Load(i, 1.0) for i in range(3)))
    for second in range(2, int(STALLED_S) + 4):
        stage.report(Load(0, second), Load(1, 1.0), Load(2, second))
    for i in range(4):
        stage.dispatch(request(f"r{i}"))
    assert {index for index, _ in stage.sent} == {0, 2}
    stage.report(*(Load(i, 99.0) for i in range(3)))
    for i in range(3):
        stage.dispatch(
            request(f"again{i}", 5000, input_ids=list(range(i * 10**5, i * 10**5 + 5000)))
        )
    assert {index for index, _ in stage.sent[4:]} == {0, 1, 2}
    assert stage.failed == []


def test_where_none_reports_all_get_requests() -> None:
    stage = Stage()
    stage.report(*(Load(i, 1.0) for i in range(3)))
    stage.report(after_s=10 * STALLED_S)
    for i in range(3):
        stage.dispatch(request(f"r{i}"))
    assert len(stage.sent) == 3


def test_a_replica_that_stalls_keeps_its_cache_and_one_that_is_gone_does_not() -> None:
    stage = Stage()
    ids = list(range(640))
    stage.report(*(Load(i, 1.0) for i in range(3)))
    stage.dispatch(request("first", input_ids=ids))
    ((home, _),) = stage.sent
    for second in range(2, int(STALLED_S) + 4):
        stage.report(*(Load(i, 1.0 if i == home else second) for i in range(3)))
    stage.report(*(Load(i, 99.0) for i in range(3)))
    stage.dispatch(request("again", input_ids=[*ids, 7]))
    assert stage.sent[-1][0] == home


def test_who_reports_rarely_is_not_stalled() -> None:
    pulse = Pulse(2, 0.0)
    for now_s in range(4, 40, 4):
        pulse.heard(0, now_s, now_s)
        pulse.heard(1, now_s, now_s)
    pulse.heard(1, 45.0, 45.0)
    assert pulse.fit(45.0) == [True, True]
    assert pulse.fit(36.0 + 12.1) == [False, True]


def test_who_has_not_yet_connected_is_not_gone() -> None:
    stage = Stage()
    stage.dispatch._connected = [False] * 3
    stage.unreachable.add(0)
    stage.dispatch.check()
    assert stage.dispatch.pulse.gone == [False] * 3


def test_the_pulse_of_who_is_gone_does_not_come_back() -> None:
    pulse = Pulse(2, 0.0)
    pulse.lost(0)
    pulse.heard(0, 5.0, 5.0)
    assert pulse.fit(5.0) == [False, True]
    assert pulse.fit(100.0) == [False, True]
