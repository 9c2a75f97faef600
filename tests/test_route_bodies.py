"""Bodies that come slowly and addresses that cannot be sent: the router's own answers."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from sagesched.gateway.app import create_app
from sagesched.gateway.config import RouteConfig

from .fake_sglang import FakeSglang
from .routing import PATIENT, Router, wait_until

HEAD = b"POST /generate HTTP/1.1\r\nhost: router\r\ncontent-length: 1000\r\n\r\n"


@pytest.mark.parametrize("drips", [False, True])
def test_a_body_that_does_not_come_is_answered_408(drips: bool) -> None:
    with FakeSglang("a") as a, Router(a.url, body_timeout_s=0.5) as router:
        address = ("127.0.0.1", int(router.url.rpartition(":")[2]))
        with socket.create_connection(address, timeout=5.0) as client:
            client.sendall(HEAD + b"{")
            began = time.monotonic()
            while drips and time.monotonic() < began + 0.4:  # each byte in time, the whole not
                client.sendall(b" ")
                time.sleep(0.05)
            answer = b"".join(iter(lambda: client.recv(9999), b""))  # and it is closed
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"within 0.5 s" in answer
        assert b"connection: close" in answer
        assert a.seen == []
        wait_until(lambda: router.metric("requests_total", result="too_slow") == 1)
        assert router.generate().status_code == 200


class Asgi:
    """The router as an application: not every HTTP server refuses such addresses itself."""

    def __init__(self, *replicas: str) -> None:
        self.app = create_app(RouteConfig(replicas, poll_s=3600.0))

    async def status(self, method: str, path: str, query: bytes) -> int:
        """Of the answer to a request."""
        sent: list[Any] = []
        bodies = [{"type": "http.request", "body": b'{"text": "a"}', "more_body": False}]

        async def receive() -> Any:
            if bodies:
                return bodies.pop()
            return await asyncio.sleep(PATIENT)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(),
            "query_string": query, "headers": [], "root_path": "", "scheme": "http",
            "http_version": "1.1", "client": ("127.0.0.1", 1), "server": ("router", 1),
        }  # fmt: skip
        await self.app(scope, receive, send)
        return int(sent[0]["status"])


@pytest.mark.parametrize(("method", "path"), [("POST", "/generate"), ("GET", "/v1/models")])
def test_an_address_that_cannot_be_sent_is_answered_400(method: str, path: str) -> None:
    async def scenario(a: FakeSglang) -> None:
        asgi = Asgi(a.url)
        async with asgi.app.router.lifespan_context(asgi.app):
            for query in (b"a=" + b"x" * 70_000, b"a=\x7f", b"a=\x01"):
                assert await asgi.status(method, path, query) == 400
            assert await asgi.status(method, path, b"a=\xff") == 200

    with FakeSglang("a") as a:
        asyncio.run(scenario(a))
        assert len(a.seen) == (method == "POST")
