"""What makes modes of SGLang work, without a server: priority classes, checksums, releases."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sagesched.cost import CostModel
from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.plugin import fallback
from sagesched.plugin.checksum import EVERY, OrderChecksum
from sagesched.plugin.front_end import PROCESS, FrontEnd
from sagesched.plugin.hooks.args_check import check_server_args
from sagesched.plugin.hooks.front_end import broadcast_requests, to_payload
from sagesched.plugin.hooks.retraction import get_decode_retraction_order
from sagesched.plugin.order import QueueOrder, stock_order
from sagesched.plugin.releases import _OtherApp, is_receiving_rank
from sagesched.plugin.state import TokenizerState
from sagesched.plugin.wire import PRIVATE_KEY
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
    holder = SimpleNamespace(in_force=True, predicts=True, memory=None, order=object())
    for request in queue:
        request._sagesched_place.holder = holder

    def kept() -> Any:
        return get_decode_retraction_order(lambda reqs: list(range(len(reqs))), queue)

    assert kept() == [3, 1, 2, 0]
    holder.order = None  # after errors
    assert kept() == [0, 1, 2, 3]


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


class Service:
    """Predicts 20 tokens for everything, and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    async def predict(
        self, key: str, content: Any, about: Any, waited_s: float = 0.0
    ) -> LengthDistribution:
        return point(20)

    def finish(self, key: str, tokens: int, finished: bool) -> None:
        self.told.append((key, tokens, finished))

    def progress(self, key: str, tokens: int) -> None:
        self.told.append((key, tokens))


@pytest.fixture
def front_end() -> Iterator[tuple[FrontEnd, Service]]:
    service = Service()
    entry = SimpleNamespace(
        is_generation=True,
        rid_to_state={},
        served_model_name="m",
        server_args=SimpleNamespace(tokenizer_worker_num=1),
        server_status=SimpleNamespace(name="Up"),
        tokenizer=None,
    )
    PROCESS.front_end = FrontEnd(TokenizerState(service, 4096), entry)
    yield PROCESS.front_end, service
    PROCESS.front_end.loop.close()
    PROCESS.front_end = None


def stock_broadcast(self: Any, received: Any) -> Any:
    return received


def stock_payload(self: Any) -> Any:
    return self


def test_requests_of_another_front_end_are_predicted_and_others_left_alone(
    front_end: tuple[FrontEnd, Service],
) -> None:
    forged = {PRIVATE_KEY: [1.0], "theirs": 1}
    wanted = [
        SimpleNamespace(
            rid=rid,
            input_ids=[1, 2, 3],
            input_text=None,
            sampling_params=SimpleNamespace(max_new_tokens=100, custom_params=params),
        )
        for rid, params in (("a", None), ("b", forged), ("HEALTH_CHECK_1", forged))
    ]
    plain = SimpleNamespace(custom_params=None)
    others = [
        SimpleNamespace(rid="abort"),
        SimpleNamespace(rid="empty", input_ids=[], sampling_params=plain),
    ]
    batch = SimpleNamespace(batch=wanted[1:])
    received = [wanted[0], batch, *others]
    assert broadcast_requests(stock_broadcast, object(), received) is received
    first, second, health = (request.sampling_params.custom_params for request in wanted)
    assert first[PRIVATE_KEY] == second[PRIVATE_KEY] == point(20).to_wire()
    assert second["theirs"] == 1
    assert PRIVATE_KEY not in health


def test_what_another_front_end_is_sent_is_learned(front_end: tuple[FrontEnd, Service]) -> None:
    mine, service = front_end
    steps: list[list[tuple[str, int, Any]]] = [
        [("a", 1, None), ("b", 2, None)],
        [("a", 3, {"type": "stop"}), ("b", 2, None)],
        [("b", 1, {"type": "length"})],
    ]
    for step in steps:
        payload = SimpleNamespace(
            rids=[rid for rid, _, _ in step],
            finished_reasons=[reason for _, _, reason in step],
            output_ids=[[7] * count for _, count, _ in step],
        )
        assert to_payload(stock_payload, payload) is payload
    assert [told for told in service.told if len(told) == 3] == [("a", 4, True), ("b", 5, False)]
    assert mine.produced == {}
    assert mine.tokenizer.calibration.ended == 0  # nothing had been predicted


def test_a_rid_that_comes_again_is_counted_anew_and_predictions_are_held_against_lengths(
    front_end: tuple[FrontEnd, Service],
) -> None:
    """The first one is aborted while it waits again, which nobody tells."""
    mine, service = front_end
    for count, reason in ((50, None), (5, {"type": "stop"})):
        params = SimpleNamespace(max_new_tokens=100, custom_params=None)
        request = SimpleNamespace(rid="a", input_ids=[1], input_text=None, sampling_params=params)
        broadcast_requests(stock_broadcast, object(), [request])
        payload = SimpleNamespace(rids=["a"], finished_reasons=[reason], output_ids=[[7] * count])
        to_payload(stock_payload, payload)
    assert [told for told in service.told if len(told) == 3] == [("a", 5, True)]
    assert mine.tokenizer.calibration.ended == 1
    assert not mine.tokenizer.calibration._expected


def test_a_prompt_without_ids_brings_no_prediction_of_its_own(
    front_end: tuple[FrontEnd, Service],
) -> None:
    params = SimpleNamespace(max_new_tokens=100, custom_params={PRIVATE_KEY: [1.0]})
    request = SimpleNamespace(rid="e", input_ids=None, sampling_params=params)
    broadcast_requests(stock_broadcast, object(), [request])
    assert PRIVATE_KEY not in (params.custom_params or {})


def test_a_prediction_that_fails_costs_no_request(
    front_end: tuple[FrontEnd, Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(FrontEnd, "predict", fails)
    monkeypatch.setattr(FrontEnd, "learn", fails)
    before = fallback.count()
    assert broadcast_requests(stock_broadcast, object(), [1]) == [1]
    assert to_payload(stock_payload, 2) == 2
    assert fallback.count() == before + 2


def test_without_another_front_end_all_is_as_it_was() -> None:
    assert PROCESS.front_end is None
    assert broadcast_requests(stock_broadcast, object(), [3]) == [3]
    assert to_payload(stock_payload, 4) == 4


@pytest.mark.parametrize("elsewhere", ["", "pp_rank", "attn_tp_rank", "attn_cp_rank"])
def test_only_the_first_rank_of_a_replica_receives(elsewhere: str) -> None:
    ranks = {"pp_rank": 0, "attn_tp_rank": 0, "attn_cp_rank": 0}
    if elsewhere:
        ranks[elsewhere] = 1
    scheduler = SimpleNamespace(ps=SimpleNamespace(**ranks))
    assert is_receiving_rank(scheduler) == (not elsewhere)
