"""The router's own answers: errors in the shape that OpenAI clients know."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, TypeVar

import anyio

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

RETRY_AFTER_S = 1

T = TypeVar("T")


class RefusedError(Exception):
    """The router answers itself.

    Args:
        status: of the answer; 503 tells the client to try again.
        reason: for the client.
        result: for the metrics.
    """

    def __init__(self, status: int, reason: str, result: str) -> None:
        super().__init__(reason)
        self.status, self.reason, self.result = status, reason, result


async def refuse(send: Send, refused: RefusedError) -> None:
    """Send it."""
    body = _said(refused)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if refused.status == 503:
        headers.append((b"retry-after", b"%d" % RETRY_AFTER_S))
    if refused.status in (408, 413):
        headers.append((b"connection", b"close"))  # the rest of the body is not read
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class CutOff:
    """Middleware: says so when a request is cancelled, as the server does at the end of a drain.

    Nothing sent yet: 503. An event stream: an event ``error``, then its end. Any other answer
    breaks off, so that nobody takes it for a whole one.
    """

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        begun: Message | None = None
        ended = False

        async def noting(message: Message) -> None:
            nonlocal begun, ended
            await send(message)
            begun = begun or message
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:
            if scope["type"] != "http":
                raise
            if not ended:
                with contextlib.suppress(asyncio.CancelledError):  # again: the client reads nothing
                    await _say_stopped(send, begun)


async def _say_stopped(send: Send, begun: Message | None) -> None:
    reason = "the router is stopping and the request was not done in time; it may have run"
    refused = RefusedError(503, reason, "stopped")
    if begun is None:
        await refuse(send, refused)
    elif _is_event_stream(begun):
        body = b"\n\nevent: error\ndata: " + _said(refused) + b"\n\n"
        await send({"type": "http.response.body", "body": body})


def _is_event_stream(start: Message) -> bool:
    headers = dict(start["headers"])
    return bool(headers.get(b"content-type", b"").startswith(b"text/event-stream"))


def _said(refused: RefusedError) -> bytes:
    error = {"message": refused.reason, "type": "router_error", "code": refused.result}
    return json.dumps({"error": error}).encode()


async def unless_left(receive: Receive, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """The work's task, done; it is cancelled when the client leaves, or we are cancelled."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        working.cancel()
        await asyncio.wait({working})
    return working


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def read_body(receive: Receive, most: float, within_s: float) -> bytes | None:
    """A request's body; None when the client left.

    Raises:
        RefusedError: it is larger than ``most`` bytes, or has not come within ``within_s`` seconds.
    """
    try:
        with anyio.fail_after(within_s):
            return await _whole(receive, most)
    except TimeoutError:
        reason = f"the body has not come within {within_s:g} s"
        raise RefusedError(408, reason, "too_slow") from None


async def _whole(receive: Receive, most: float) -> bytes | None:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise RefusedError(413, f"the body has more than {most:.0f} bytes", "too_large")
        if not message.get("more_body", False):
            return b"".join(parts)
