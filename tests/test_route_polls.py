"""What the router makes of odd answers to its polls: of servers, of SGLang's gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from typing import Any

import httpx
import pytest

from sagesched.balance import Query, make_chooser
from sagesched.gateway.config import RouteConfig
from sagesched.gateway.fleet import Fleet
from sagesched.gateway.targets import Gateway
from sagesched.gateway.upstream import make_client

from .fake_sglang import FakeSglang
from .routing import Router, wait_until

LOAD = {
    "num_running_reqs": 0,
    "num_waiting_reqs": 0,
    "num_waiting_uncached_tokens": 0,
    "num_used_tokens": 0,
    "max_total_num_tokens": 1000,
    "max_running_requests": 4,
}
ODD = [
    b'{"loads": ["x"]}',
    b'{"loads": {"a": 1}}',
    b'{"loads": "x"}',
    b'{"loads": []}',
    b"[]",
    b"null",
    json.dumps({"loads": [LOAD | {"num_running_reqs": float("inf")}]}).encode(),
    json.dumps({"loads": [LOAD | {"num_running_reqs": float("nan")}]}).encode(),
    json.dumps({"loads": [LOAD | {"num_used_tokens": 10**30}]}).encode(),
    b"[" * 100_000,
]


@pytest.mark.parametrize("answer", ODD, ids=range(len(ODD)))
def test_a_server_with_odd_loads_gets_no_requests_and_others_do(answer: bytes) -> None:
    with FakeSglang("odd") as odd, FakeSglang("good") as good:
        odd.loads = answer
        with Router(odd.url, good.url) as router:
            assert router.client.get("/health").json() == {"healthy": 1, "replicas": 2}
            assert router.replicas()[0]["error"]
            assert router.replicas()[1]["error"] is None
            assert {router.generate(f"{n}").json()["text"] for n in range(4)} == {"good"}
            odd.loads = b""
            wait_until(lambda: router.client.get("/health").json()["healthy"] == 2)
            odd.loads = answer  # also later
            wait_until(lambda: router.client.get("/health").json()["healthy"] == 1)
            assert {router.generate(f"{n}").json()["text"] for n in range(4)} == {"good"}


def test_a_router_whose_servers_are_all_wrong_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with FakeSglang("a", api_key="right") as a, Router(a.url, api_key="wrong") as router:
        polled = a.polled
        wait_until(lambda: a.polled > polled + 5)
        assert router.replicas()[0]["error"] == "status 401 from /v1/loads"
        assert router.generate().status_code == 503
    said = [r.getMessage() for r in caplog.records if r.name == "sagesched.route"]
    assert len(said) == 1, "once, not with every poll"
    assert "gets no requests: status 401 from /v1/loads" in said[0]


class Dripping:
    """Answers a thousand bytes, one in each 0.05 s."""

    def __init__(self) -> None:
        self.answers: list[Any] = []

    async def answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.answers.append(asyncio.current_task())
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        with contextlib.suppress(OSError):
            while not writer.is_closing():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        with contextlib.suppress(OSError):
            writer.close()
            await writer.wait_closed()


def test_a_server_that_answers_byte_by_byte_has_failed() -> None:
    """Also at the start, which would else never end."""

    async def scenario() -> None:
        dripping = Dripping()
        server = await asyncio.start_server(dripping.answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        config = RouteConfig((url,), poll_timeout_s=0.2, poll_s=99.0, failures=2)
        async with server, make_client(config) as client:
            fleet = Fleet(config, make_chooser("sal", 1), client)
            await asyncio.wait_for(fleet.__aenter__(), 5.0)
            replica = fleet.replicas[0]
            assert (replica.failures, replica.healthy) == (1, False)
            await asyncio.wait_for(fleet.look(replica), 5.0)
            assert (replica.failures, replica.healthy) == (2, False)
            assert replica.error == "TimeoutError no whole answer within 0.2 s"
            await fleet.__aexit__()
            await asyncio.gather(*dripping.answers)  # each look has hung up

    asyncio.run(scenario())


class Behind:
    """Two servers behind a gateway, over a transport of ours."""

    def __init__(self) -> None:
        self.workers: Any = [{"url": f"http://{n}:1", "is_healthy": True} for n in "ab"]
        self.config = RouteConfig(("http://a:1", "http://b:1"), gateway="http://g:1", poll_s=99.0)
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        self.chooser = make_chooser("sal", 2)
        self.fleet = Fleet(self.config, self.chooser, self.client)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/loads":
            return httpx.Response(200, json={"loads": [LOAD | {"timestamp": time.time()}]})
        if self.workers is None:
            return httpx.Response(503)
        return httpx.Response(200, json={"workers": self.workers})

    async def look(self) -> int:
        """Once everywhere; how many are healthy."""
        assert isinstance(self.fleet.targets, Gateway)
        await self.fleet._look_at_gateway(self.fleet.targets)
        for replica in self.fleet.replicas:
            await self.fleet.look(replica)
        return self.fleet.healthy


@pytest.mark.parametrize("wrong", [None, "x", ["x"], {"a": 1}])
def test_one_failed_look_at_the_gateway_changes_nothing(
    wrong: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "sagesched.route")
    prompt = Query("next", 2000, bytes(8000))

    async def scenario() -> None:
        behind = Behind()
        right = behind.workers
        async with behind.fleet:
            assert behind.fleet.healthy == 2
            behind.chooser.sent(1, Query("first", 2000, bytes(8000)))
            behind.chooser.finished("first")
            behind.workers = wrong
            assert await behind.look() == 2
            assert await behind.look() == 2
            behind.fleet.targets.of(0)
            behind.workers = right
            assert await behind.look() == 2
            behind.workers = wrong
            found = [await behind.look() for _ in range(2 * behind.config.failures)]
            assert found == [2, 2, 0, 0, 0, 0], "after as many failures in a row as for a server"
            behind.workers = right
            assert await behind.look() == 2
            assert behind.chooser.choose(prompt) == 1, "the servers have kept their caches"

    asyncio.run(scenario())
    said = [r.getMessage() for r in caplog.records if "list of workers" in r.getMessage()]
    assert len(said) == 5, "changes only: unreadable, again, unreadable, gone, again"
