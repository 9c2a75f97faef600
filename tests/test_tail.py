"""Who is likely to be among the longest, and what the order does for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sagesched.cost import CostModel
from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.plugin.order import QueueOrder
from sagesched.plugin.place import place_of
from sagesched.plugin.tail import ALL_FROM, LEAD, LONGEST, lead_of, tail_share

GRID = LengthGrid(4096)


def two_point(low: int, high: int, often_high: float) -> NDArray[np.float64]:
    pmf = np.zeros(len(GRID))
    pmf[GRID.bin_of(low)] += 1.0 - often_high
    pmf[GRID.bin_of(high)] += often_high
    return pmf


def test_the_share_is_relative_to_the_average_request() -> None:
    traffic = two_point(10, 2000, 0.04)
    assert LONGEST > 0.04
    assert tail_share(two_point(10, 2000, 0.16), traffic) == pytest.approx(1.0)  # all are the tail
    traffic = two_point(10, 2000, 0.06)
    assert tail_share(traffic, traffic) == pytest.approx(1.0)
    assert tail_share(two_point(10, 2000, 0.24), traffic) == pytest.approx(4.0)
    assert tail_share(two_point(10, 1000, 0.9), traffic) == 0.0
    assert tail_share(two_point(10, 4000, 1.0), traffic) == pytest.approx(1 / 0.06)


def test_where_all_are_alike_nobody_is_the_tail() -> None:
    traffic = two_point(10, 10, 0.0)
    assert lead_of(tail_share(traffic, traffic)) == 0.0
    assert tail_share(traffic, np.zeros(len(GRID))) == 1.0  # nothing is known of the traffic


@given(st.floats(0.0, 1e12))
def test_a_lead_grows_with_the_share_and_is_bounded(share: float) -> None:
    assert 0.0 <= lead_of(share) <= lead_of(2 * share) <= LEAD
    assert lead_of(0.99) == 0.0
    assert lead_of(ALL_FROM) == LEAD


class Request:
    def __init__(self, name: str) -> None:
        self.name = name
        self.origin_input_ids = [1] * 10
        self.output_ids: list[int] = []


def lead_in(order: QueueOrder, pmf: NDArray[np.float64], opted_out: bool = False) -> float:
    request: Any = Request("one")
    order.enter(request, 0, LengthDistribution(GRID, pmf), opted_out=opted_out)
    place = place_of(request)
    assert place is not None
    return place.lead


def order_after(kinds: Sequence[NDArray[np.float64]]) -> QueueOrder:
    """Of traffic in which six in a hundred are long, and predicted as the kinds say, in turn."""
    usual = LengthDistribution(GRID, two_point(100, 3000, 0.06))
    order = QueueOrder(usual, CostModel(1.0, 0.0, 0.0), dial=1.0)
    for n in range(400):
        order.enter(Request(f"r{n}"), 0, LengthDistribution(GRID, kinds[n % len(kinds)]))
    return order


KNOWN = [two_point(3000, 3000, 0.0), *[two_point(100, 100, 0.0)] * 15]
UNKNOWN = [two_point(100, 3000, 0.06)]


def test_who_may_be_one_of_the_longest_is_moved_less_far() -> None:
    order = order_after(KNOWN)
    sure, risky = Request("sure"), Request("risky")
    order.enter(sure, 0, LengthDistribution(GRID, two_point(680, 680, 0.0)))
    order.enter(risky, 0, LengthDistribution(GRID, two_point(100, 3000, 0.2)))
    leads = []
    for request in (sure, risky):
        place, keys, engine = place_of(request), order.keys, order._engine
        assert place is not None
        moved = min(max(engine.log_index(place.handle), keys.low), keys.high) - place.lead
        assert engine.key(place.handle) == pytest.approx(keys.weight * max(keys.low, moved))
        assert keys.spared == 1.0
        leads.append(place.lead)
    assert leads[0] == 0 < leads[1] < LEAD


def test_nothing_is_given_back_where_nothing_is_taken() -> None:
    order = order_after(UNKNOWN)
    order.rank([], 0, lambda request: 0)
    assert order.keys.spared == 0.0
    led, plain = Request("led"), Request("plain")
    for request in (led, plain):
        order.enter(request, 0, LengthDistribution(GRID, two_point(600, 600, 0.0)))
    place, other = place_of(led), place_of(plain)
    assert place is not None
    assert other is not None
    place.lead, other.lead = LEAD, 0.0
    order.enter(led, 0, None)  # once more, with that lead
    assert order._engine.key(place.handle) == order._engine.key(other.handle)
    worst = order.worst_first([led, plain])
    assert worst[0][0] == worst[1][0]


def test_who_opted_out_has_no_lead() -> None:
    order = order_after(KNOWN)
    assert lead_in(order, two_point(3000, 3000, 0.0)) == LEAD
    assert lead_in(order, two_point(3000, 3000, 0.0), opted_out=True) == 0.0
