"""Which replica gets the next request: ``sagesched.balance``."""

from __future__ import annotations

from dataclasses import replace

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
        (("oracle", 2), {}, "needs the true lengths"),
    ],
)
def test_what_is_refused(
    arguments: tuple[str, int], constants: dict[str, float], message: str
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
