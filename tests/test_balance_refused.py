"""What choosers do not take: constants, reports and indices that cannot be."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from sagesched.balance import Chooser, Query, ReplicaLoad, chooser_names, make_chooser
from sagesched.balance.registry import read_spec
from sagesched.balance.reported import LoadReader

NAMES = [name for name in chooser_names() if not name.startswith("oracle")]
LOAD = ReplicaLoad(20, 3, 4_000, 20_000, 30_000, 64, 3_000.0, 25_000.0, 1)
REPORT = {
    "timestamp": 1.0,
    "num_running_reqs": 20,
    "num_waiting_reqs": 3,
    "num_waiting_uncached_tokens": 4_000,
    "num_used_tokens": 20_000,
    "max_total_num_tokens": 30_000,
    "max_running_requests": 64,
}
COUNTS = (
    *("running", "waiting", "waiting_uncached_tokens"),
    *("used_tokens", "capacity_tokens", "max_running"),
)


def query(number: int) -> Query:
    """A request with a prompt of its own, of one of seven beginnings."""
    return Query(f"r{number}", 200, bytes([number % 7]) * 512 + bytes([number % 251]) * 288)


def choices(chooser: Chooser, count: int = 30, first: int = 0) -> list[int]:
    """Where so many requests go."""
    where = []
    for number in range(first, first + count):
        where.append(chooser.choose(query(number)))
        chooser.sent(where[-1], query(number))
    return where


@pytest.mark.parametrize("key", ["replicas", "spec", "self", "constants", "predicted", "name", ""])
@pytest.mark.parametrize("name", [*NAMES, "oracle", "oracle_start"])
def test_only_a_choosers_own_constants_can_be_given(name: str, key: str) -> None:
    said = r"has no constants" if name.startswith("oracle") else rf"unknown constant '{key}'.*answ"
    for read in (read_spec, lambda spec: make_chooser(spec, 2)):
        with pytest.raises(ValueError, match=said):
            read(f"{name}:{key}=3")
    if key not in ("replicas", "spec"):  # of make_chooser itself
        with pytest.raises(ValueError, match=rf"{name}: unknown constant '{key}'; choose from"):
            make_chooser(name, 2, **{key: 3})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sal:foo=1", "'foo'; choose from output, prefill_per_s, .*, tree_blocks, answers"),
        ("sal:seed=1", "unknown constant 'seed'"),
        ("sal-prompt:threshold=1", "unknown constant 'threshold'; choose from output, "),
        ("cache_aware:output=1", "choose from threshold, imbalance, ratio, tree_blocks, answers"),
        ("random:output=1", "choose from seed, answers"),
        ("round_robin:seed=1", "choose from answers"),
        ("sal:answers=2", r"answers = '2': expected 0 or 1"),
        ("sal:answers=", r"answers = '': expected 0 or 1"),
        ("random:answers=yes", r"answers = 'yes': expected 0 or 1"),
        ("random:seed=1.5", r"chooser random: seed = 1.5: expected a whole number"),
        ("power_of_two:seed=inf", r"seed = inf: expected a whole number"),
        ("sal:output=1:output=2", "output is said twice"),
        ("sal:output=" + "9" * 5000, "output = inf: expected a number"),
    ],
)
def test_the_message_says_what_is_valid(spec: str, message: str) -> None:
    for read in (read_spec, lambda spec: make_chooser(spec, 2)):
        with pytest.raises(ValueError, match=message):
            read(spec)


@pytest.mark.parametrize("tokens", [-1, math.nan, math.inf])
def test_a_prompt_that_cannot_be_is_no_query(tokens: float) -> None:
    """It would spoil the sums of a chooser for all that come after it."""
    with pytest.raises(ValueError, match=r"prompt_tokens = .*expected a number"):
        Query("r", tokens)  # type: ignore[arg-type]


def test_what_only_a_replay_gives_is_checked_too() -> None:
    def truth(index: int, uncached: float) -> float:
        return uncached + index

    assert make_chooser("oracle", 2, truth=truth, tree_blocks=9).choose(query(1)) == 0
    for constants in ({"tree_blocks": 0}, {"output": 1}):
        with pytest.raises(ValueError, match=next(iter(constants))):
            make_chooser("oracle", 2, truth=truth, **constants)


@pytest.mark.parametrize("name", ["random", "power_of_two"])
def test_a_seed_behind_the_name_counts(name: str) -> None:
    def drawn(spec: str, **more: Any) -> list[int]:
        return choices(make_chooser(spec, 8, **more))

    assert drawn(f"{name}:seed=3") == drawn(name, seed=3) != drawn(name)
    assert drawn(f"{name}:seed=3", seed=7) == drawn(name, seed=3)
    large = 2**64 + 1  # more digits than a float has
    assert drawn(f"{name}:seed={large}") == drawn(name, seed=large)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("field", "bad"),
    [
        *product(COUNTS, [math.nan, math.inf, -math.inf, -1, 10**400]),
        *product(["sequence"], [math.nan, math.inf, -math.inf]),
    ],
)
def test_a_report_that_cannot_be_is_ignored(name: str, field: str, bad: float) -> None:
    """As if it had not come: neither its numbers nor its place among reports are kept."""
    told, plain = make_chooser(name, 3, seed=1), make_chooser(name, 3, seed=1)
    for chooser in (told, plain):
        for index in range(3):
            chooser.observe(index, replace(LOAD, used_tokens=20_000 + 900 * index))
        choices(chooser, 9)
    for index in range(3):
        report: dict[str, Any] = {"running": 60, "used_tokens": 0, "sequence": 2, field: bad}
        told.observe(index, replace(LOAD, **report))
    assert choices(told, 20, first=9) == choices(plain, 20, first=9)
    for chooser in (told, plain):
        chooser.observe(1, replace(LOAD, running=0, used_tokens=0, waiting=0, sequence=2))
    assert choices(told, 20, first=29) == choices(plain, 20, first=29)


@pytest.mark.parametrize("name", ["sal", "sal-prompt"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -5.0, 1e300])
@pytest.mark.parametrize("field", ["release_per_s", "prefill_per_s"])
@pytest.mark.parametrize("first", [False, True])
def test_a_rate_that_cannot_be_is_unknown(name: str, field: str, bad: float, first: bool) -> None:
    """The rest of the report counts; what was known of the rate stays, and goes on."""
    told, plain = make_chooser(name, 3), make_chooser(name, 3)
    for chooser, rate in ((told, bad), (plain, 0.0)):
        for index in range(3):
            good = replace(LOAD, used_tokens=28_000 + 500 * index)
            if not first:
                chooser.observe(index, good)
            odd: dict[str, Any] = {field: rate, "used_tokens": 29_000 - 200 * index}
            chooser.observe(index, replace(good, sequence=2, **odd))
    assert choices(told) == choices(plain)
    assert len(set(choices(told, first=30))) == 3 == len(set(choices(plain, first=30)))
    for index in range(3):
        slower = replace(LOAD, release_per_s=10.0 + index, prefill_per_s=50.0, sequence=3)
        told.observe(index, slower)
        plain.observe(index, slower)
    assert choices(told, first=60) == choices(plain, first=60)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("index", [-1, -3, 3, 99])
def test_an_index_that_is_none_changes_nothing(name: str, index: int) -> None:
    told, plain = make_chooser(name, 3, seed=1), make_chooser(name, 3, seed=1)
    for chooser in (told, plain):
        for each in range(3):
            chooser.observe(each, replace(LOAD, used_tokens=20_000 + 900 * each))
        choices(chooser, 9)
    open_one = replace(query(3), expected_output=9_000.0)
    empty = replace(LOAD, running=0, used_tokens=0, sequence=2)
    for call in (
        lambda: told.set_health(index, False),
        lambda: told.set_health(index, True, keeps_cache=True),
        lambda: told.sent(index, query(100)),
        lambda: told.sent(index, open_one),
        lambda: told.observe(index, empty),
        lambda: told.reset(index),
    ):
        with pytest.raises(IndexError, match=f"no replica {index}: there are 3"):
            call()
    assert choices(told, 20, first=9) == choices(plain, 20, first=9)
    for number in range(29):
        told.finished(f"r{number}")
    books = getattr(told, "_books", None)
    assert books is None or len(books) == 0
    told.resize(1)
    assert told.choose(query(1)) == 0


def test_an_absurd_prediction_leaves_the_sums_of_all_others() -> None:
    chooser = make_chooser("sal", 2)
    for number in range(3):
        chooser.sent(0, replace(query(number), expected_output=300.0))
    chooser.sent(0, replace(query(9), key="absurd", expected_output=1e30))
    chooser.finished("absurd")
    assert chooser._books.accounts[0].output == 900.0  # type: ignore[attr-defined]


def test_a_report_of_one_and_a_half_requests_ends_no_choice() -> None:
    chooser = make_chooser("sal", 2)
    for number in range(3):
        chooser.sent(0, query(number))
    chooser.observe(0, replace(LOAD, running=1.5))  # type: ignore[arg-type]
    assert chooser.choose(query(9)) in (0, 1)


def test_reports_may_begin_anywhere() -> None:
    chooser = make_chooser("total_tokens", 2)
    chooser.observe(0, replace(LOAD, sequence=-5, used_tokens=900))
    assert chooser._tokens[0] >= 900  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", [math.nan, math.inf, -1, None, "many", ["x"], [math.nan]])
@pytest.mark.parametrize("name", ["gen_throughput", "total_prefill_busy_us", "decode_moments"])
def test_what_rates_are_made_of_may_be_unknown(name: str, value: Any) -> None:
    load = LoadReader().read([REPORT | {name: value}])
    assert load.running == REPORT["num_running_reqs"]
