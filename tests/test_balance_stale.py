"""Stale reports: what was sent since counts until a report can contain it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagesched.balance import Chooser, Query, ReplicaLoad, make_chooser
from sagesched.balance.books import Books, Sent

NAMES = ["sal", "sal-prompt", "power_of_two", "cache_aware", "shortest_predicted"]


def report(count: int, sequence: int, made_s: float | None = None) -> ReplicaLoad:
    """Of a replica with so many requests of 300 tokens."""
    used = 300 * count
    return ReplicaLoad(count, 0, 0, used, 30_000, 128, sequence=sequence, made_s=made_s)


def burst(chooser: Chooser, count: int, first: int = 0) -> list[int]:
    """Sends so many requests; returns where they went."""
    where = []
    for number in range(first, first + count):
        query = Query(f"r{number}", 300, bytes([number % 256]) * 64, expected_output=100.0)
        where.append(chooser.choose(query))
        chooser.sent(where[-1], query)
    return where


@pytest.mark.parametrize("name", NAMES)
def test_reports_from_before_a_burst_do_not_hide_it(name: str) -> None:
    """Replica 0 is known to have got 30; old reports that say it is empty keep coming."""
    chooser = make_chooser(name, 2)
    for index in range(2):
        chooser.observe(index, report(0, 1))
    for number in range(30):
        query = Query(f"old{number}", 300, bytes([number]) * 64, expected_output=100.0)
        chooser.sent(0, query)
    for sequence in range(2, 6):
        for index in range(2):
            chooser.observe(index, report(0, sequence))
    assert burst(chooser, 20) == [1] * 20


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("others", [20, 50])
def test_requests_of_others_do_not_hide_a_burst(name: str, others: int) -> None:
    """Reports are full of what another router sent; a burst between two is shared all the same."""
    chooser = make_chooser(name, 4)
    for sequence in range(1, 4):
        for index in range(4):
            chooser.observe(index, report(others, sequence))
        where = burst(chooser, 40, first=100 * sequence)
        assert {where.count(index) for index in range(4)} <= set(range(5, 16))
        for number in range(100 * sequence, 100 * sequence + 40):
            chooser.finished(f"r{number}")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["send", "end", "report"]), max_size=80), st.integers(0, 9))
def test_a_single_router_knows_what_has_changed_since_a_report(
    events: list[str], delay: int
) -> None:
    """Ends and reports are heard equally late, and nobody else sends."""
    books = Books()
    books.add()
    sent = ended = heard = 0
    on_its_way: list[tuple[int, str, int]] = []
    for now, event in enumerate(events):
        if event == "send":
            books.sent(0, str(sent), Sent(0, 300, 300, 1.0, 0))
            sent += 1
        elif event == "end" and ended < sent:
            on_its_way.append((now + delay, "end", ended))
            ended += 1
        elif event == "report":
            on_its_way.append((now + delay, "report", sent - ended))
        while on_its_way and on_its_way[0][0] <= now:
            _, kind, value = on_its_way.pop(0)
            if kind == "end":
                books.finished(str(value))
            else:
                heard, counted = heard + 1, value
                books.observe(0, report(counted, heard))
        if heard:
            account = books.accounts[0]
            assert account.unseen(True) == max(0, len(books) - counted)
            assert delay or account.others(True) == 0


def test_stock_total_requests_believes_them() -> None:
    """As SGLang's: a new report replaces what was added, whether it contains it or not."""
    chooser = make_chooser("total_requests", 2)
    for number in range(30):
        chooser.sent(0, Query(f"old{number}", 300))
    for index in range(2):
        chooser.observe(index, report(0, 1))
    assert burst(chooser, 4) == [0, 1, 0, 1]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_report_contains_is_not_counted_twice(name: str) -> None:
    chooser = make_chooser(name, 2)
    for number in range(10):
        query = Query(f"old{number}", 300, bytes([number]) * 64, expected_output=100.0)
        chooser.sent(0, query)
    chooser.observe(0, report(10, 1))
    chooser.observe(1, report(12, 1))  # of another router, too
    where = burst(chooser, 2, first=100)
    assert 0 in where
    assert where[0] == 0


@pytest.mark.parametrize("name", NAMES)
def test_ends_make_room(name: str) -> None:
    chooser = make_chooser(name, 2)
    for index in range(2):
        chooser.observe(index, report(0, 1))
    where = burst(chooser, 40)
    for number, index in enumerate(where):
        if index == 1:
            chooser.finished(f"r{number}")
    assert chooser.choose(Query("next", 300, b"n" * 64, expected_output=100.0)) == 1


def test_without_word_of_ends_two_reports_settle_it() -> None:
    chooser = make_chooser("sal", 2, answers=False)
    for index in range(2):
        chooser.observe(index, report(0, 1))
    for number in range(30):
        chooser.sent(0, Query(f"old{number}", 300))
    chooser.observe(0, report(0, 2))  # may have been on its way
    assert chooser.choose(Query("next", 300)) == 1
    chooser.observe(0, report(0, 3))  # they have ended, or are in it
    assert chooser.choose(Query("next", 300)) == 0


def test_without_word_of_ends_the_age_of_reports_tells_what_they_contain() -> None:
    """Reports come often but late: ten of them say nothing of what was sent a second ago."""
    chooser = make_chooser("sal", 2, answers=False)
    for index in range(2):
        chooser.observe(index, report(0, 1, made_s=99.0))
    for number in range(30):
        chooser.sent(0, Query(f"old{number}", 300, sent_s=100.0 + 0.01 * number))
    for sequence in range(2, 12):
        chooser.observe(0, report(0, sequence, made_s=99.0 + 0.1 * sequence))
        assert chooser.choose(Query("next", 300, sent_s=101.0)) == 1
    chooser.observe(0, report(0, 12, made_s=101.0))  # a step that began before may have made it
    assert chooser.choose(Query("next", 300, sent_s=101.5)) == 1
    chooser.observe(0, report(0, 13, made_s=101.1))
    assert chooser.choose(Query("next", 300, sent_s=101.5)) == 0


def test_a_clock_that_is_behind_does_not_keep_requests_open_for_ever() -> None:
    chooser = make_chooser("sal-prompt", 2, answers=False)
    for number in range(200):
        chooser.sent(0, Query(f"r{number}", 300, sent_s=1000.0 + number))
        for index in range(2):
            chooser.observe(index, report(0, number + 1, made_s=10.0 + number))
    assert len(chooser._books) <= 31  # type: ignore[attr-defined]


@pytest.mark.parametrize("clock_s", [-3600.0, -20.0, 3600.0, float("inf"), float("nan")])
def test_a_clock_that_is_set_does_no_lasting_harm(clock_s: float) -> None:
    """Both sides' clock jumps: a minute later what was sent counts as before."""
    chooser = make_chooser("sal-prompt", 2, answers=False)
    sent = [0, 0]
    for number in range(1200):
        jumped_s = 0.0 if number < 100 else clock_s if number < 101 or abs(clock_s) < 1e9 else 0.0
        now_s = 10_000.0 + 0.1 * number + jumped_s
        query = Query(f"r{number}", 300, sent_s=now_s)
        index = chooser.choose(query)
        chooser.sent(index, query)
        sent[index] += number >= 800
        for each in range(2):
            chooser.observe(each, report(4, number, made_s=now_s))
    assert abs(sent[0] - sent[1]) <= 40
    assert len(chooser._books) < 20  # type: ignore[attr-defined]


def test_reports_whose_clock_is_ahead_hide_no_burst() -> None:
    chooser = make_chooser("sal-prompt", 2, answers=False)
    for sequence in range(1, 3):
        for index in range(2):
            chooser.observe(index, report(0, sequence, made_s=110.0 + sequence))
    for number in range(20):
        chooser.sent(0, Query(f"r{number}", 300, sent_s=100.0))
    chooser.observe(0, report(0, 3, made_s=113.0))
    assert chooser.choose(Query("next", 300, sent_s=100.1)) == 1


@pytest.mark.parametrize("name", NAMES)
def test_without_word_of_ends_none_is_heard(name: str) -> None:
    chooser = make_chooser(name, 2, answers=False)
    for number in range(30):
        chooser.sent(0, Query(f"r{number}", 300))
        chooser.finished(f"r{number}")
    assert chooser.choose(Query("next", 300)) == 1


def test_without_a_prediction_of_its_own_a_queue_is_taken_for_usual() -> None:
    """All outputs were short lately: so are those that somebody else has queued there."""
    chooser = make_chooser("sal", 2)
    for number in range(200):
        chooser.sent(number % 2, Query(f"r{number}", 300, expected_output=4.0))
        chooser.finished(f"r{number}")
    busy = ReplicaLoad(10, 20, 0, 20_000, 30_000, 128, 1000.0, 10_000.0, 1)
    chooser.observe(0, busy)
    chooser.observe(1, replace(busy, waiting=1, used_tokens=26_000))
    assert chooser.choose(Query("next", 300, expected_output=4.0)) == 0


def test_shortest_predicted_knows_that_a_report_still_counts_what_has_ended() -> None:
    chooser = make_chooser("shortest_predicted", replicas=2)
    chooser.sent(0, Query("long", 500, b"", 500.0))
    for number in range(3):
        key = f"short {number}"
        chooser.sent(1, Query(key, 2, b"", 2.0))
        chooser.finished(key)
        chooser.observe(1, ReplicaLoad(1, 0, 0, 4, 30_000, 128, sequence=number + 1))
        assert chooser.choose(Query("next", 2, b"", 2.0)) == 1
    chooser.observe(1, ReplicaLoad(2, 0, 0, 4, 30_000, 128, sequence=9))
    chooser.observe(1, ReplicaLoad(2, 0, 0, 4, 30_000, 128, sequence=10))
    assert chooser.choose(Query("next", 2, b"", 2.0)) == 0, "two of somebody else's are there"
