"""What stands before all routes: the token, the size of bodies, and what nobody expected.

It comes before the routes so that nothing of a stranger's request is read or parsed.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from sagesched.predict.errors import describe
from sagesched.predictor_service.auth import is_authorized
from sagesched.predictor_service.metrics import Metrics

MAX_BODY_BYTES = 4 * 2**20
OPEN_PATHS = frozenset({"/health"})

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

logger = logging.getLogger("sagesched")


class _TooLargeError(Exception):
    pass


class _DisconnectedError(Exception):
    pass


class Guard:
    """An ASGI application around another one.

    Args:
        app: the routes.
        token: that requests must bring; None asks for none.
        metrics: counts and times every request.
    """

    def __init__(self, app: Application, token: str | None, metrics: Metrics) -> None:
        self._app = app
        self._token = token
        self._metrics = metrics

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request; lifespan messages pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._serve(scope, receive, noting_status)
        except _DisconnectedError:
            return
        except Exception as error:
            logger.error("predictor service: a request failed: %s", describe(error))
            if status == 0:
                await _refuse(noting_status, 500, "internal error; the service's log says where")
        finally:
            self._metrics.request(scope["path"], status, time.perf_counter() - began)

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if scope["path"] not in OPEN_PATHS and not is_authorized(
            headers.get(b"authorization"), self._token
        ):
            await _refuse(send, 401, "send the service's token: 'Authorization: Bearer TOKEN'")
            return
        try:
            body = await _read(receive, headers.get(b"content-length", b""))
        except _TooLargeError:
            await _refuse(send, 413, f"the body has more than {MAX_BODY_BYTES} bytes")
            return
        await self._app(scope, _replay(body, receive), send)


async def _read(receive: Receive, announced: bytes) -> bytes:
    if announced.isdigit() and (len(announced) > 18 or int(announced) > MAX_BODY_BYTES):
        raise _TooLargeError
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _DisconnectedError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
        if size > MAX_BODY_BYTES:
            raise _TooLargeError
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting = [body]

    async def receive_again() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return receive_again


async def _refuse(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"detail": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 413:
        headers.append((b"connection", b"close"))  # the rest of the body is not read
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
