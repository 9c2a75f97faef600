"""What makes modes of SGLang work, without a server: priority classes, checksums, releases."""

from __future__ import annotations

import logging
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sagesched.cost import CostModel
from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.plugin.checksum import EVERY, OrderChecksum
from sagesched.plugin.hooks.priority_check import check_server_args
from sagesched.plugin.hooks.retraction import get_decode_retraction_order
from sagesched.plugin.order import QueueOrder, stock_order
from sagesched.plugin.releases import _OtherApp
from sagesched.predict.defaults import cold_start_pmf

GRID = LengthGrid(4096)
PRIOR = LengthDistribution(GRID, cold_start_pmf(GRID))


def point(tokens: int) -> LengthDistribution:
    pmf = np.zeros(len(GRID))
    pmf[GRID.bin_of(tokens)] = 1.0
    return LengthDistribution(GRID, pmf)


def requests(*classes: int | None) -> list[Any]:
    return [
        SimpleNamespace(
            rid=f"r{i}", priority=value, origin_input_ids=[1] * 10, output_ids=[], name=i
        )
        for i, value in enumerate(classes)
    ]


def ordered(sign: int, classes: list[int | None], lengths: list[int]) -> tuple[QueueOrder, Any]:
    order = QueueOrder(PRIOR, CostModel(), math.inf, priority_sign=sign)
    queue = requests(*classes)
    for request, tokens in zip(queue, lengths, strict=True):
        order.enter(request, 0, point(tokens))
    order.rank(queue, len(queue), lambda request: 0)
    return order, queue


@pytest.mark.parametrize(
    ("sign", "expected"),
    [(-1, [4, 3, 1, 0, 2]), (1, [1, 0, 3, 4, 2]), (0, [2, 4, 1, 3, 0])],
    ids=["large first", "small first", "no classes"],
)
def test_classes_come_first_and_the_index_decides_inside(sign: int, expected: list[int]) -> None:
    _, queue = ordered(sign, [0, 0, None, 5, 9], [900, 30, 2, 400, 10])
    assert [request.name for request in queue] == expected


def test_priorities_beyond_all_bounds_are_classes_too() -> None:
    _, queue = ordered(-1, [10**30, -(10**30), -(2**63), 7], [50, 5, 9, 5])
    assert [request.name for request in queue] == [0, 3, 1, 2]


def test_the_stock_order_keeps_classes_apart() -> None:
    _, queue = ordered(1, [3, 1, 2, 1], [5, 900, 40, 10])
    stock_order(queue)
    assert [request.name for request in queue] == [1, 3, 2, 0]


def test_the_last_class_is_retracted_first() -> None:
    _, queue = ordered(1, [3, 1, 2, 1], [5, 900, 40, 10])
    queue.sort(key=lambda request: request.name)
    for request in queue:
        request._sagesched_place.holder = SimpleNamespace(in_force=True)
    kept = get_decode_retraction_order(lambda reqs: list(range(len(reqs))), queue)
    assert kept == [3, 1, 2, 0]


def test_checksums_tell_orders_apart(caplog: pytest.LogCaptureFixture) -> None:
    one, two, other = OrderChecksum(), OrderChecksum(), OrderChecksum()
    first, second = requests(0, 0)
    with caplog.at_level(logging.INFO, logger="sagesched"):
        for _ in range(EVERY):
            one.note([first, second], [])
            two.note([first, second], [])
            other.note([first], [second])
    assert one.value == two.value != other.value
    told = [record.args for record in caplog.records]
    assert [passes for _, passes in told if passes == EVERY] == [EVERY] * 3
    assert len(told) == 3 * (EVERY.bit_length())


class Arguments(SimpleNamespace):
    """As much of ``ServerArgs`` as its check reads here."""

    def seen(self) -> str:
        for _, declared in reversed(self._resolved_overrides or ()):
            if "schedule_policy" in declared:
                return str(declared["schedule_policy"])
        return str(self.schedule_policy)


@pytest.mark.parametrize(
    ("policy", "classes", "seen"),
    [("gittins", True, "fcfs"), ("gittins", False, "gittins"), ("lpm", True, "lpm")],
)
def test_sglangs_check_sees_fcfs_beneath_ours(policy: str, classes: bool, seen: str) -> None:
    before = [("somebody", {"page_size": 1})]
    arguments = Arguments(
        schedule_policy=policy, enable_priority_scheduling=classes, _resolved_overrides=before
    )
    looked = []

    def check(self: Any) -> None:
        looked.append(self.seen())
        raise AssertionError("another check fails")

    with pytest.raises(AssertionError, match="another"):
        check_server_args(check, arguments)
    assert looked == [seen]
    assert arguments.seen() == policy
    assert list(arguments._resolved_overrides) == before


def test_another_app_is_loaded_by_name_only() -> None:
    ran: list[Any] = []
    uvicorn = SimpleNamespace(run=lambda app, **more: ran.append((app, more)), Config="theirs")
    mine = _OtherApp(uvicorn, "my:app")
    mine.run("sglang:app", workers=2)
    mine.run(uvicorn)
    assert ran == [("my:app", {"workers": 2}), (uvicorn, {})]
    assert mine.Config == "theirs"
