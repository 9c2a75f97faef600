"""How far the index may move a request: ``sagesched.plugin.anchor``."""

from __future__ import annotations

import math

import pytest

from sagesched.plugin.anchor import (
    ABOVE,
    ABOVE_DEEP,
    ABOVE_UNKNOWN,
    BACKLOGS,
    BEARABLE_LOSS,
    BELOW,
    DEEP_FROM,
    LEAST_EASE,
    MOST_EASE,
    MOST_SPARED,
    SERVICES,
    SHALLOW_UNTIL,
    SPARED_STRICT,
    Anchor,
)
from sagesched.plugin.tail import LEAD


def anchor_after(lengths: list[float], dial: float = 1.0, slots: int = 10) -> Anchor:
    anchor = Anchor(dial, slots, 100.0)
    for length in lengths:
        anchor.saw(length, math.log(length))
    return anchor


def test_the_ends_of_the_dial() -> None:
    strict = anchor_after([100.0] * 50, dial=0.0).keys(10_000)
    assert (strict.weight, strict.reach) == (0, 0)
    free = anchor_after([100.0] * 50, dial=math.inf).keys(10_000)
    assert (free.weight, free.low, free.high) == (math.inf, -math.inf, math.inf)
    assert free.reach == math.inf


def test_the_unit_is_a_service_and_what_waits() -> None:
    anchor = anchor_after([200.0] * 2000)
    assert anchor.ease == pytest.approx(MOST_EASE, rel=0.01)  # nobody is moved, so nobody loses
    wait = SHALLOW_UNTIL * 200
    alone, behind_some = (MOST_EASE * (SERVICES * 200 + BACKLOGS * b) for b in (0, wait))
    assert anchor.keys(0).weight == pytest.approx(alone, rel=0.2)
    assert anchor.keys(round(10 * wait)).weight == pytest.approx(behind_some, rel=0.2)
    assert anchor.keys(0).weight == pytest.approx(alone, rel=0.2)


def test_a_unit_is_smaller_where_the_longest_are_those_it_delays() -> None:
    def after(shares: tuple[float, float]) -> Anchor:
        anchor = Anchor(1.0, 10, 100.0)
        for _ in range(2000):
            for length, share in zip((100.0, 300.0), shares, strict=True):
                anchor.saw(length, math.log(length), share)
        return anchor

    known, unknown = after((0.0, 2.0)), after((1.0, 1.0))
    assert known.loss == pytest.approx(math.log(3) / 4, abs=0.02)  # a quarter of the work is short
    assert unknown.loss == pytest.approx(-math.log(3) / 4, abs=0.02)
    assert known.ease < unknown.ease == MOST_EASE
    assert known.keys(1000).weight < unknown.keys(1000).weight
    assert Anchor(1.0, 10, 100.0).loss == BEARABLE_LOSS  # before anything came
    assert Anchor(1.0, 10, 100.0).ease == 1.0


@pytest.mark.parametrize(("share", "length"), [(0.0, 1.0), (1e9, 1.0), (1e9, 1e9), (0.0, 1e9)])
def test_no_traffic_makes_a_unit_absurd(share: float, length: float) -> None:
    anchor = Anchor(1.0, 10, 100.0)
    for n in range(100):
        anchor.saw(length, 80.0 * (-1) ** n, share * (n % 2))
        assert LEAST_EASE <= anchor.ease <= MOST_EASE


@pytest.mark.parametrize(("known", "above"), [(True, ABOVE), (False, ABOVE_UNKNOWN)])
def test_the_band_lies_around_what_is_usual(known: bool, above: float) -> None:
    """Further where the longest are known, and delayed, than where anybody may be one of them."""
    anchor = of_longest_known() if known else anchor_after([100.0, 100.0, 100.0, 300.0] * 2000)
    keys = anchor.keys(0)
    usual = (3 * math.log(100) + math.log(300)) / 4
    assert anchor.strain == pytest.approx(float(known), abs=0.1)
    assert keys.low == pytest.approx(usual - BELOW, abs=0.3)
    assert keys.high == pytest.approx(usual + above, abs=0.3)
    assert keys.reach == pytest.approx(keys.weight * (BELOW + above))


def of_longest_known(dial: float = 1.0) -> Anchor:
    """Ten slots, a mean service of 150 steps; who is long is known, and delayed."""
    anchor = Anchor(dial, 10, 100.0)
    for _ in range(2000):
        for length in (100.0, 100.0, 100.0, 300.0):
            anchor.saw(length, math.log(length), 4.0 * (length > 100.0))
    return anchor


def test_in_a_deep_queue_nobody_is_spared_and_the_band_is_narrow() -> None:
    """And whoever is short still gets past all that wait: the reach is that of a wide band."""
    anchor, shallow, deep = of_longest_known(), 0, round(2 * DEEP_FROM * 150 * 10)
    assert anchor.keys(shallow).spared == 1.0
    keys = anchor.keys(deep)
    assert keys.spared == 0.0
    assert keys.high - keys.low == pytest.approx(BELOW + ABOVE_DEEP)
    unit = anchor.ease * (SERVICES * 150 + BACKLOGS * deep / 10)
    assert keys.reach == pytest.approx(unit * (BELOW + ABOVE_UNKNOWN), rel=0.2)
    assert anchor.keys(shallow).high - anchor.keys(shallow).low == pytest.approx(BELOW + ABOVE)
    assert anchor.keys(shallow).spared == 1.0


def test_a_queue_becomes_deep_by_and_by() -> None:
    anchor = of_longest_known()
    half = round((SHALLOW_UNTIL + DEEP_FROM) / 2 * 150 * 10)
    up = [anchor.keys(backlog) for backlog in range(0, 4 * half, 100)]
    down = [anchor.keys(backlog) for backlog in range(4 * half, -1, -100)]
    for rise in (up, down[::-1]):
        assert [keys.high for keys in rise] == sorted((keys.high for keys in rise), reverse=True)
        assert (rise[0].spared, rise[-1].spared) == (1.0, 0.0)  # both ends are reached
        assert rise[-1].high - rise[-1].low == pytest.approx(BELOW + ABOVE_DEEP)
        assert len({keys.high for keys in rise}) > 3
    assert len({anchor.keys(half + 500 * (n % 2)).high for n in range(100)}) == 1


@pytest.mark.parametrize(("dial", "spared"), [(0.75, 1 + SPARED_STRICT / 4), (1.0, 1.0), (3, 1.0)])
def test_the_stricter_the_dial_the_more_the_longest_are_spared(dial: float, spared: float) -> None:
    assert of_longest_known(dial).keys(0).spared == pytest.approx(spared)


def test_no_dial_spares_the_longest_so_that_they_pass_the_short() -> None:
    keys = of_longest_known(0.01).keys(0)
    assert keys.spared == MOST_SPARED
    assert keys.spared * LEAD < ABOVE


@pytest.mark.parametrize("dial", [0.5, 1.0, 2.0, 10.0])
def test_the_reach_in_a_deep_queue_is_that_of_a_usual_band(dial: float) -> None:
    deep = 2 * DEEP_FROM * 150 * 10
    usual = of_longest_known(dial)
    usual._deepens = False
    reach, most = (each.keys(round(deep)).reach for each in (of_longest_known(dial), usual))
    assert 0.6 * most < reach <= 1.01 * most


def test_a_queue_that_is_a_small_part_of_latency_is_never_deep() -> None:
    anchor = Anchor(1.0, 1, 100.0, deepens=False)
    assert anchor.keys(10**9).high == Anchor(1.0, 1, 100.0).keys(0).high


def test_small_changes_leave_the_keys_alone() -> None:
    anchor = anchor_after([200.0] * 2000)
    keys = {anchor.keys(backlog) for backlog in range(20_000, 22_000, 10)}
    assert len(keys) == 1
    back_and_forth = {anchor.keys(20_000 + 1_000 * (n % 2)) for n in range(100)}
    assert len(back_and_forth) == 1


@pytest.mark.parametrize("backlog", [0, 1, 10**9, 10**18])
def test_no_backlog_is_too_long(backlog: int) -> None:
    keys = anchor_after([1e6] * 10).keys(backlog)
    assert 0 < keys.weight < 1e13
    assert keys.low < keys.high


def test_nobody_is_overtaken_from_beyond_the_reach() -> None:
    """Of any two requests, whatever their indices, the one that came ``reach`` earlier is first."""
    keys = anchor_after([10.0, 1000.0] * 500, dial=2.0).keys(5_000)
    worst = 0 + keys.weight * min(max(math.log(1e12), keys.low), keys.high)
    best = keys.reach + 1e-6 + keys.weight * min(max(math.log(1e-3), keys.low), keys.high)
    assert worst < best


def test_a_backlog_lasts_longer_where_memory_lets_fewer_run() -> None:
    anchor = anchor_after([200.0] * 2000, slots=100)
    full = anchor.keys(100_000).weight
    longer = (SERVICES * 200 + BACKLOGS * 10_000) / (SERVICES * 200 + BACKLOGS * 1_000)
    for _ in range(1000):
        anchor.runs(10)
    assert anchor.keys(100_000).weight == pytest.approx(full * longer, rel=0.3)
    for running in (0, 10**9):  # what cannot be is taken for the nearest that can
        for _ in range(1000):
            anchor.runs(running)
        assert 0 < anchor.keys(100_000).weight < 1e6
