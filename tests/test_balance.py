"""Which replica gets the next request: ``sagesched.balance``."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagesched.balance import Chooser, NoReplica, Query, ReplicaLoad, make_chooser
from sagesched.balance.registry import chooser_names

NAMES = [
    name for name in chooser_names() if not name.startswith("oracle")
]  # which only a replay has
IDLE = ReplicaLoad(0, 0, 0, 0, 30_000, 64, sequence=1)


def query(number: int, tokens: int = 100, **more: float) -> Query:
    """A request with a prompt of its own."""
    return Query(f"r{number}", tokens, bytes([number % 251]) * 64, **more)


def idle(name: str, replicas: int) -> Chooser:
    """With nothing to do, as all of them have reported."""
    chooser = make_chooser(name, replicas)
    for index in range(replicas):
        chooser.observe(index, IDLE)
    return chooser


def send(chooser: Chooser, request: Query) -> int:
    """Choose and say so."""
    index = chooser.choose(request)
    chooser.sent(index, request)
    return index


@pytest.mark.parametrize("name", NAMES)
def test_only_healthy_replicas_are_chosen(name: str) -> None:
    chooser = make_chooser(name, 3)
    chooser.set_health(1, False)
    seen = {send(chooser, query(number)) for number in range(60)}
    assert seen <= {0, 2}
    chooser.set_health(0, False)
    chooser.set_health(2, False)
    with pytest.raises(NoReplica, match="none of 3"):
        chooser.choose(query(0))
    chooser.set_health(1, True)
    assert chooser.choose(query(1)) == 1


@pytest.mark.parametrize("name", NAMES)
def test_equal_replicas_share_a_burst(name: str) -> None:
    """What was sent since the last report counts: nobody gets all of it."""
    chooser = idle(name, 4)
    sent = [send(chooser, query(number)) for number in range(80)]
    assert {sent.count(index) for index in range(4)} <= set(range(8, 33))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(1, 5000)), max_size=40))
def test_the_same_calls_give_the_same_choices(name: str, calls: list[tuple[int, int, int]]) -> None:
    """Whatever it is told, in any order: twins agree, and choices are in range."""
    twins = [make_chooser(name, 3, seed=5) for _ in range(2)]
    for kind, number, tokens in calls:
        answers = set()
        for chooser in twins:
            if kind <= 1:
                answers.add(send(chooser, query(number, tokens)))
            elif kind == 2:
                chooser.finished(f"r{number}")
            elif kind == 3:
                load = ReplicaLoad(number, number, tokens, tokens, 8000, 8, sequence=tokens)
                chooser.observe(number % 3, load)
            else:
                chooser.resize(1 + number % 4)
                chooser.resize(3)
        assert len(answers) <= 1
        assert answers <= {0, 1, 2}


@pytest.mark.parametrize("name", ["sal", "sal-prompt"])
@pytest.mark.parametrize(
    "busy",
    [
        replace(IDLE, waiting=9, waiting_uncached_tokens=50_000),
        replace(IDLE, running=60, used_tokens=29_900, release_per_s=10.0),
        replace(IDLE, running=64, waiting=3, used_tokens=9_000, release_per_s=10.0),
    ],
    ids=["prefill queued", "no memory", "no slots"],
)
def test_sal_goes_where_the_request_starts_sooner(name: str, busy: ReplicaLoad) -> None:
    chooser = make_chooser(name, 2)
    chooser.observe(0, busy)
    chooser.observe(1, IDLE)
    assert chooser.choose(query(1)) == 1


def test_sal_goes_to_the_cached_prefix_unless_it_waits_there() -> None:
    chooser = idle("sal", 2)
    first = Query("a", 4000, tuple(range(4000)))
    chooser.sent(1, first)
    chooser.finished("a")
    again = Query("b", 4000, tuple(range(4000)))
    assert chooser.choose(again) == 1
    chooser.observe(1, replace(IDLE, waiting=20, waiting_uncached_tokens=200_000, sequence=2))
    assert chooser.choose(again) == 0


def test_only_sal_looks_at_predictions() -> None:
    loads = [replace(IDLE, used_tokens=25_000, running=20), replace(IDLE, used_tokens=24_900)]
    found = {}
    for name in ("sal", "sal-prompt"):
        for length in (None, 20_000.0):
            chooser = make_chooser(name, 2)
            for index, load in enumerate(loads):
                chooser.observe(index, load)
            chooser.sent(1, Query("long", 10, expected_output=length))
            found[name, length] = chooser.choose(Query("next", 10))
    assert found["sal-prompt", None] == found["sal-prompt", 20_000.0]
    assert found["sal", 20_000.0] == 0


def test_an_old_report_is_ignored() -> None:
    chooser = make_chooser("sal", 2)
    chooser.observe(0, replace(IDLE, sequence=5))
    chooser.observe(1, replace(IDLE, waiting_uncached_tokens=1000, waiting=1, sequence=5))
    full = replace(IDLE, waiting_uncached_tokens=10**6, waiting=99, sequence=4)
    chooser.observe(0, full)
    assert chooser.choose(query(1)) == 0
    chooser.observe(0, replace(full, sequence=6))
    assert chooser.choose(query(1)) == 1


@pytest.mark.parametrize("name", NAMES)
def test_books_do_not_grow_with_what_has_ended(name: str) -> None:
    chooser = idle(name, 2)
    for number in range(3000):
        send(chooser, query(number))
        chooser.finished(f"r{number}")
    books = getattr(chooser, "_books", None)
    if books is not None:
        assert len(books) == 0


@pytest.mark.parametrize(
    ("arguments", "constants", "message"),
    [
        (("best", 2), {}, "unknown chooser 'best'; choose from sal"),
        (("sal", 0), {}, "at least 1 replica"),
        (("sal", 2), {"colour": 1}, "colour"),
        (("sal", 2), {"prefill_per_s": 0}, "prefill_per_s = 0: expected a number above 0"),
        (("sal", 2), {"prefill_per_s": -1.0}, "prefill_per_s"),
        (("sal", 2), {"blend": 7}, "blend = 7: expected a number above 0 and at most 1"),
        (("sal-prompt", 2), {"output": "x"}, "chooser sal-prompt: output = 'x'"),
        (("sal", 2), {"output": float("nan")}, "output"),
        (("sal", 2), {"reuse": float("inf")}, "reuse"),
        (("sal", 2), {"fullness": 10**400}, "fullness"),
        (("sal", 2), {"tree_blocks": 1.5}, "tree_blocks = 1.5: expected a whole number"),
        (("sal", 2), {"answers": "no"}, "answers = 'no': expected True or False"),
        (("cache_aware", 2), {"threshold": 2}, "threshold"),
        (("cache_aware", 2), {"tree_blocks": 0}, "tree_blocks"),
        (("oracle", 2), {}, "needs the true lengths"),
    ],
)
def test_what_is_refused(
    arguments: tuple[str, int], constants: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_chooser(*arguments, **constants)


@pytest.mark.parametrize("name", NAMES)
def test_a_replica_that_takes_the_place_of_another_starts_from_nothing(name: str) -> None:
    """Its reports count from the first one, and the two choosers agree from there on."""
    chooser = make_chooser(name, 2, seed=1)
    full = replace(IDLE, running=60, waiting=50, used_tokens=29_000, release_per_s=1.0)
    for sequence in range(1, 100):
        chooser.observe(0, replace(full, sequence=sequence))
        chooser.sent(0, query(sequence))
    chooser.set_health(0, False)
    chooser.reset(0)
    chooser.set_health(0, True)
    fresh = make_chooser(name, 2, seed=1)
    for one in (chooser, fresh):
        one.observe(0, IDLE)
        one.observe(1, replace(IDLE, running=5, used_tokens=2_000))
    if name == "round_robin":  # the turn is nobody's own
        fresh.sent(0, query(0))
    for number in range(1, 40):
        assert send(chooser, query(number)) == send(fresh, query(number))
    for number in range(1, 100):
        chooser.finished(f"r{number}")
    books = getattr(chooser, "_books", None)
    assert books is None or len(books) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", [math.nan, math.inf, -1.0])
def test_a_prediction_that_cannot_be_counts_as_none(name: str, length: float) -> None:
    odd, plain = idle(name, 3), idle(name, 3)
    for number in range(30):
        asked = send(odd, query(number, expected_output=length)), send(plain, query(number))
        assert asked[0] == asked[1]
        if number % 3 == 0:
            odd.finished(f"r{number}")
            plain.finished(f"r{number}")


def test_sal_chooses_a_healthy_replica_whatever_is_reported() -> None:
    chooser = make_chooser("sal", 3)
    chooser.set_health(0, False)
    for index in range(3):
        chooser.observe(index, replace(IDLE, release_per_s=math.nan, prefill_per_s=math.nan))
    assert chooser.choose(query(1)) in (1, 2)


@pytest.mark.parametrize("name", ["sal", "sal-prompt", "cache_aware"])
@pytest.mark.parametrize("keeps", [False, True])
def test_a_replica_that_was_gone_has_lost_its_cache_unless_it_is_said_to_keep_it(
    name: str, keeps: bool
) -> None:
    chooser = idle(name, 3)
    prompt = tuple(range(4000))
    chooser.sent(2, Query("a", 4000, prompt))
    chooser.finished("a")
    assert chooser.choose(Query("b", 4000, prompt)) == 2
    chooser.set_health(2, False, keeps_cache=keeps)
    chooser.set_health(2, True)
    assert (chooser.choose(Query("c", 4000, prompt)) == 2) == keeps


def test_a_request_that_is_moved_leaves_nothing_behind() -> None:
    """It turned out to be elsewhere: as if it had been sent there in the first place."""
    moved, plain = idle("sal", 2), idle("sal", 2)
    big = Query("big", 20_000)
    moved.sent(0, big)
    for chooser in (moved, plain):
        if chooser is moved:
            moved.choose(query(1))  # estimates are made
        chooser.sent(1, query(2, 5000))
        chooser.sent(1, big)
    assert moved.choose(query(3)) == plain.choose(query(3)) == 0
    for chooser in (moved, plain):
        chooser.finished("big")
        chooser.finished("r2")
        foreign = replace(IDLE, running=1, sequence=2)
        chooser.observe(0, foreign)
        chooser.observe(1, foreign)
        books = chooser._books  # type: ignore[attr-defined]
        assert [account.foreign for account in books.accounts] == [1, 0]


def test_a_request_that_is_moved_is_in_no_report_of_where_it_was_not() -> None:
    chooser = idle("power_of_two", 2)
    for number in range(4):
        chooser.sent(0, query(number))
    chooser.observe(0, replace(IDLE, running=6, sequence=2))  # of others, too
    chooser.sent(1, query(0))
    chooser.sent(1, query(1))
    for number in range(9, 12):
        chooser.sent(0, query(number))
    assert chooser._books.accounts[0].unseen(True) == 3  # type: ignore[attr-defined]


def test_a_chooser_and_its_constants_from_text() -> None:
    text, plain = (make_chooser(spec, 2) for spec in ("sal:output=4096:answers=0", "sal"))
    assert text.constants.output == 4096  # type: ignore[attr-defined]
    assert (text._books.answers, plain._books.answers) == (False, True)  # type: ignore[attr-defined]
    for spec in ("sal:", "sal:output", "sal:output=", "sal:output=-1", "best:output=1", "sal:x=1"):
        with pytest.raises(ValueError, match=r"expected|unknown|unexpected"):
            make_chooser(spec, 2)
