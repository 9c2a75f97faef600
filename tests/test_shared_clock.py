"""Seconds that all ranks count alike: ``sagesched.plugin.shared_clock``."""

from __future__ import annotations

import pytest

from sagesched.plugin.shared_clock import FOLLOWED, PREFILL_TOKENS_IN_A_STEP, SharedClock


def test_between_requests_time_passes_at_the_pace_of_the_steps() -> None:
    clock = SharedClock()
    for second in range(5):
        clock.saw(1000.0 + second, 100 * second)
    assert clock.at(400) == 1004.0
    assert clock.at(450) == pytest.approx(1004.5)
    clock.saw(1004.2, 450)  # faster than thought: the request knows better
    assert clock.at(450) == 1004.2


def test_steps_that_prefill_take_longer() -> None:
    clock, prompt = SharedClock(), round(10 * PREFILL_TOKENS_IN_A_STEP)
    clock.saw(1000.0, 0)
    clock.saw(1001.0, 100)
    assert clock.at(110) == pytest.approx(1001.1)
    assert clock.at(110, prompt) == pytest.approx(1001.2)


def test_a_burst_taken_in_around_one_long_prefill_says_nothing_of_the_pace() -> None:
    clock = SharedClock()
    for second in range(5):
        clock.saw(1000.0 + second, 50 * second)
    clock.saw(1005.0, 250, idle=True)
    for number in range(1, 200):
        clock.saw(1005.0 + 0.0002 * number, 251, 8192)
    assert clock.at(401, 8192) == pytest.approx(1005.04 + 150 * 0.02, rel=1e-4)


def test_the_pace_follows() -> None:
    clock = SharedClock()
    for second in range(200):
        clock.saw(float(second), 100 * second)
    start_s, start = 200.0, 100 * 200
    for n in range(FOLLOWED):
        clock.saw(start_s + 2.0 * n, start + 10 * n)
    last_s, last = start_s + 2.0 * (FOLLOWED - 1), start + 10 * (FOLLOWED - 1)
    assert clock.at(last + 10) == pytest.approx(last_s + 2.0)


def test_a_request_that_was_long_on_its_way_turns_nothing_back() -> None:
    clock = SharedClock()
    clock.saw(10.0, 100)
    clock.saw(9.0, 120)
    clock.saw(10.0, 130)
    assert clock.at(100) == 10.0
    assert clock.at(200) > 10.0


def test_it_runs_before_any_request_says_when_it_was_sent() -> None:
    clock = SharedClock()
    assert 0 <= clock.at(1) < clock.at(1000)


def test_an_hour_of_nothing_says_nothing_of_the_pace() -> None:
    clock = SharedClock()
    for second in range(FOLLOWED):
        clock.saw(1000.0 + second, 100 * second)
    end = 1000.0 + FOLLOWED + 3600.0
    clock.saw(end, 100 * FOLLOWED, idle=True)
    assert clock.at(100 * FOLLOWED + 100) == pytest.approx(end + 1.0)
    for second in range(1, 5):
        clock.saw(end + second, 100 * (FOLLOWED + second))
    assert clock.at(100 * FOLLOWED + 500) == pytest.approx(end + 5.0)


def test_a_burst_that_was_sent_at_once_says_nothing_of_the_pace() -> None:
    clock = SharedClock()
    for second in range(5):
        clock.saw(1000.0 + second, 100 * second)
    for n in range(2 * FOLLOWED):
        clock.saw(1005.0 + 1e-4 * n, 500 + n // FOLLOWED)
    assert clock.at(601) == pytest.approx(1006.0, abs=0.1)
