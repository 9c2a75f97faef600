"""The router's own lack of file descriptors: avoided at its start, and no fault of a server's."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagesched.gateway.app import create_app
from sagesched.gateway.config import RouteConfig
from sagesched.gateway.descriptors import OUT, SPARE, are_out, needed, raise_limit
from sagesched.gateway.fleet import Fleet

from .fake_sglang import FakeSglang
from .test_route_cli import Process

FEW = 200
BODY = b'{"text": "a"}'


def test_at_its_start_the_router_takes_what_it_may_have(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with (
        FakeSglang("a") as a,
        Process(a.url, tmp_path / "log", "--max-inflight", "99", limits=(FEW, hard)) as route,
    ):
        assert resource.prlimit(route.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)


def test_where_it_may_not_have_enough_the_router_says_what_to_do(tmp_path: Path) -> None:
    with FakeSglang("a") as a, Process(a.url, tmp_path / "log", limits=(FEW, FEW)) as route:
        assert f"the limit of file descriptors is {FEW}" in route.log
        assert "LimitNOFILE=" in route.log


def test_a_limit_that_is_high_enough_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(resource, "setrlimit", never)
    for soft in (1000, resource.RLIM_INFINITY):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, 10_000))
        assert raise_limit(1000) == ""


def test_each_request_needs_a_descriptor_at_both_ends() -> None:
    config = RouteConfig(("http://a:1", "http://b:1"), max_inflight=10)
    assert needed(config, 30) == 30 + 10 + 2 + SPARE
    asking = RouteConfig(("http://a:1",), max_inflight=10, predictor="http://p:1")
    assert needed(asking, 30) == 30 + 2 * 10 + 1 + SPARE


class GroupError(Exception):
    """As Python 3.11 has them, and anyio before."""

    def __init__(self, *exceptions: Exception) -> None:
        super().__init__("of two addresses")
        self.exceptions = exceptions


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_the_lack_is_found_behind_other_errors(number: int) -> None:
    def wrapped(error: BaseException) -> Exception:
        outer = httpx.ConnectError("All connection attempts failed")
        outer.__cause__ = error
        error.__context__ = outer  # a chain may have a loop
        return outer

    refused = ConnectionRefusedError(errno.ECONNREFUSED, "x")
    assert are_out(wrapped(OSError(number, "x")))
    assert are_out(wrapped(GroupError(refused, OSError(number, "x"))))
    assert not are_out(wrapped(GroupError(refused)))
    assert not are_out(wrapped(refused))


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """For the block; connections that are open stay."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 8, limits[1]))
    held = []
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        yield
    finally:
        for one in held:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@contextlib.asynccontextmanager
async def running(
    monkeypatch: pytest.MonkeyPatch, *replicas: str, **more: Any
) -> AsyncIterator[tuple[Fleet, httpx.AsyncClient]]:
    """The router in this loop, without polls after the first, and a client without sockets."""
    fleets: list[Fleet] = []
    begin = Fleet.__init__

    def noted(fleet: Fleet, *rest: Any) -> None:
        begin(fleet, *rest)
        fleets.append(fleet)

    monkeypatch.setattr(Fleet, "__init__", noted)
    monkeypatch.setattr("sagesched.gateway.upstream.KEEP_ALIVE_S", 0.01)
    app = create_app(RouteConfig(replicas, poll_s=3600.0, **more))
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://router") as client,
    ):
        await asyncio.sleep(0.1)  # the polls' connections are too old now, and the next one's
        with pytest.raises(httpx.ConnectError):  # failure closes them; it imports what errors need
            await fleets[0]._client.get("http://127.0.0.1:9")
        await asyncio.sleep(0.3)  # and so do the servers, whose threads are in this process
        yield fleets[0], client


def test_without_a_descriptor_the_answer_says_so_and_no_server_is_blamed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "sagesched.route")

    async def scenario(a: FakeSglang, b: FakeSglang) -> None:
        async with running(monkeypatch, a.url, b.url) as (fleet, client):
            assert fleet.healthy == 2
            with no_descriptor_left():
                answers = [await client.post("/generate", content=BODY) for _ in range(2)]
                for _ in range(fleet._config.failures):
                    await fleet.look(fleet.replicas[0])
                information = await client.get("/v1/models")
                replicas = (await client.get("/replicas")).json()
            for answer in answers:
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
                assert answer.json()["error"]["code"] == "no_descriptors"
                assert answer.json()["error"]["message"] == OUT
            assert information.status_code == 503
            assert information.json()["error"]["message"] == OUT
            assert [replica["healthy"] for replica in replicas] == [True, True]
            assert replicas[0]["error"] == OUT
            assert (await client.post("/generate", content=BODY)).status_code == 200
            await fleet.look(fleet.replicas[0])
            assert fleet.replicas[0].error == ""

    with FakeSglang("a") as a, FakeSglang("b") as b:
        asyncio.run(scenario(a, b))
    said = [r.getMessage() for r in caplog.records if r.name == "sagesched.route"]
    assert said.count(OUT) == 1, "once, not with every request"
    assert not [line for line in said if "gets no more requests" in line]
