"""The router's own answers: errors in the shape that OpenAI clients know."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

RETRY_AFTER_S = 1


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
    error = {"message": refused.reason, "type": "router_error", "code": refused.result}
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if refused.status == 503:
        headers.append((b"retry-after", b"%d" % RETRY_AFTER_S))
    if refused.status == 413:
        headers.append((b"connection", b"close"))  # the rest of the body is not read
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def read_body(receive: Receive, most: float) -> bytes | None:
    """A request's body; None when the client left.

    Raises:
        RefusedError: it is larger than ``most`` bytes.
    """
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
