"""Predictions that follow their requests: what the tokenizer process sends, and when."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from sagesched.lengths import LengthDistribution
from sagesched.plugin import fallback
from sagesched.plugin.hooks.predict_request import send_batch_request, send_one_request
from sagesched.plugin.hooks.tokenizer_start import _predicts_ahead
from sagesched.plugin.state import STATE, TokenizerState
from sagesched.plugin.wire import (
    FOLLOWS_KEY,
    OF_KEY,
    PRIVATE_KEY,
    SENT_KEY,
    numbers_of,
    read_message,
)
from sagesched.replay.engine import require_sglang

from .test_queue_order import GRID, point

LENGTHS = [900, 20, 500, 10, 700]


class Service:
    """Predicts when told to, or fails."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.law: LengthDistribution | Exception | None = point(20)
        self.gate = asyncio.Event()
        self.gate.set()

    async def predict(self, key: str, content: Any, about: Any, waited_s: float) -> Any:
        self.asked.append(key)
        await self.gate.wait()
        if isinstance(self.law, Exception):
            raise self.law
        return self.law


class Manager:
    """As much of SGLang's ``TokenizerManager``."""

    def __init__(self, **args: Any) -> None:
        defaults = {"tokenizer_worker_num": 1, "dp_size": 1, "disaggregation_mode": "null"}
        self.server_args = SimpleNamespace(**(defaults | args))
        self.server_status = SimpleNamespace(name="Up")
        self.is_generation, self.tokenizer, self.served_model_name = True, None, "m"
        self.rid_to_state: dict[str, Any] = {}
        self.sent: list[Any] = []
        self.service = Service()
        setattr(self, STATE, TokenizerState(self.service, 4096, ahead=_predicts_ahead(self)))

    @property
    def state(self) -> TokenizerState:
        return self.__dict__[STATE]  # type: ignore[no-any-return]

    def _dispatch_to_scheduler(self, message: Any) -> None:
        self.sent.append(message)

    def request(self, rid: str) -> Any:
        self.rid_to_state[rid] = SimpleNamespace(obj=None)
        params = SimpleNamespace(max_new_tokens=100, custom_params={PRIVATE_KEY: [1.0]})
        return SimpleNamespace(rid=rid, input_ids=[1, 2], input_text=None, sampling_params=params)

    async def send(self, *rids: str) -> None:
        requests = [self.request(rid) for rid in rids]
        if len(requests) == 1:
            await send_one_request(leave, self, requests[0])
        else:
            await send_batch_request(leave, self, requests)

    async def settle(self) -> None:
        while self.state.tasks:
            await asyncio.sleep(0)

    def laws(self) -> list[tuple[str, int | None]]:
        """Of the messages in their order: of whom, and where most of it lies."""
        sent = [one for one in self.sent if hasattr(one, "server_args")]
        laws = [read_message(one.server_args, GRID) for one in sent]
        return [
            (one.rid, None if law is None else round(law.quantile(0.5)))
            for one, law in zip(sent, laws, strict=True)
        ]

    def messages(self) -> dict[str, dict[str, float]]:
        return {one.rid: one.server_args for one in self.sent if hasattr(one, "server_args")}


async def leave(self: Manager, request: Any) -> None:
    self.sent.extend(request if isinstance(request, list) else [request])


def run(test: Callable[[Manager], Coroutine[Any, Any, None]]) -> None:
    pytest.importorskip("sglang")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what SGLang imports
        require_sglang()

    async def inside() -> None:
        await test(Manager())

    asyncio.run(inside())


def test_a_request_leaves_before_it_is_predicted() -> None:
    async def test(manager: Manager) -> None:
        manager.service.gate.clear()
        await manager.send("a")
        (request,) = manager.sent
        custom = request.sampling_params.custom_params
        assert custom[FOLLOWS_KEY] is True
        assert PRIVATE_KEY not in custom
        assert custom[SENT_KEY] > 0
        await asyncio.sleep(0.01)
        assert manager.service.asked == ["a"]
        assert not manager.messages()
        manager.service.gate.set()
        await manager.settle()
        assert manager.messages() == {"a": numbers_of(custom[SENT_KEY], point(20))}
        assert manager.state.calibration._expected.keys() == {"a"}

    run(test)


def test_each_request_of_a_batch_gets_its_own() -> None:
    async def test(manager: Manager) -> None:
        rids = [f"r{i}" for i in range(20)]
        await manager.send(*rids)
        assert len(manager.sent) == 20
        await manager.settle()
        assert list(manager.messages()) == rids

    run(test)


def test_it_is_cut_to_what_the_request_may_generate() -> None:
    async def test(manager: Manager) -> None:
        manager.service.law = point(3000)
        await manager.send("a")
        await manager.settle()
        found = read_message(manager.messages()["a"], GRID)
        assert found is not None
        assert found.quantile(1.0) <= GRID.edges[GRID.bin_of(100)]

    run(test)


@pytest.mark.parametrize("law", [None, RuntimeError("no")])
def test_where_there_is_none_that_is_said(law: Any) -> None:
    async def test(manager: Manager) -> None:
        manager.service.law = law
        before = fallback.count()
        await manager.send("a")
        await manager.settle()
        assert manager.laws() == [("a", None)]
        assert fallback.count() - before == (law is not None)

    run(test)


def test_one_that_has_ended_leaves_nothing_behind() -> None:
    async def test(manager: Manager) -> None:
        await manager.send("over at once")
        del manager.rid_to_state["over at once"]
        await manager.settle()
        manager.service.gate.clear()
        await manager.send("over soon")
        await asyncio.sleep(0.01)
        del manager.rid_to_state["over soon"]
        manager.service.gate.set()
        await manager.settle()
        assert manager.service.asked == ["over soon"]
        # whoever awaits one is told
        assert manager.laws() == [("over at once", None), ("over soon", 20)]
        assert not manager.state.calibration._expected
        assert not manager.state.tasks

    run(test)


def test_an_id_that_is_used_again_is_another_request() -> None:
    async def test(manager: Manager) -> None:
        manager.service.gate.clear()
        await manager.send("a")
        await asyncio.sleep(0.01)
        del manager.rid_to_state["a"]  # aborted; the client tries again
        await manager.send("a")
        manager.service.gate.set()
        await manager.settle()
        first, second = (one for one in manager.sent if not hasattr(one, "server_args"))
        sent = [one.sampling_params.custom_params[SENT_KEY] for one in (first, second)]
        assert sent[0] < sent[1]
        found = [one.server_args[OF_KEY] for one in manager.sent if hasattr(one, "server_args")]
        assert sorted(found) == sent

    run(test)


def test_beside_what_we_cannot_write_to_nothing_follows() -> None:
    async def test(manager: Manager) -> None:
        request = manager.request("a")
        request.sampling_params.custom_params = [1]
        await send_one_request(leave, manager, request)
        await manager.settle()
        assert request.sampling_params.custom_params == [1]
        assert not manager.messages()

    run(test)


def test_what_cannot_be_sent_after_it_costs_no_request() -> None:
    async def test(manager: Manager) -> None:
        def fails(message: Any) -> None:
            raise OSError("closed")

        manager._dispatch_to_scheduler = fails  # type: ignore[method-assign]
        before = fallback.count()
        await manager.send("a")
        await manager.settle()
        assert fallback.count() == before + 1

    run(test)


def test_one_that_does_not_leave_is_not_followed() -> None:
    async def refuse(self: Any, request: Any) -> None:
        raise ValueError("refused")

    async def test(manager: Manager) -> None:
        with pytest.raises(ValueError, match="refused"):
            await send_one_request(refuse, manager, manager.request("a"))
        assert not manager.state.tasks
        assert not manager.service.asked

    run(test)


def test_what_is_no_traffic_goes_alone() -> None:
    async def test(manager: Manager) -> None:
        await manager.send("HEALTH_CHECK_1")
        await manager.settle()
        assert FOLLOWS_KEY not in (manager.sent[0].sampling_params.custom_params or {})
        assert len(manager.sent) == 1

    run(test)


@pytest.mark.parametrize(
    ("args", "ahead"),
    [
        ({}, False),
        ({"disaggregation_mode": None}, False),
        ({"dp_size": 2}, True),
        ({"disaggregation_mode": "decode"}, True),
    ],
)
def test_where_it_is_read_on_the_way_a_request_waits_for_it(
    args: dict[str, Any], ahead: bool
) -> None:
    async def test() -> None:
        manager = Manager(**args)
        assert manager.state.ahead is ahead
        if ahead:
            await manager.send("a")
            custom = manager.sent[0].sampling_params.custom_params
            assert custom[PRIVATE_KEY] == point(20).to_wire()
            assert not manager.messages()

    asyncio.run(test())


def test_a_scheduler_that_no_message_reaches_gets_them_with_the_requests() -> None:
    args = SimpleNamespace(dp_size=1, disaggregation_mode="null")
    assert _predicts_ahead(SimpleNamespace(server_args=args))
