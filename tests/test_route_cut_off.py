"""What a client is told whose request the router ends, at the end of its drain."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sagesched.gateway.answers import CutOff

STREAM = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream; charset=utf-8")],
}
JSON = STREAM | {"headers": [(b"content-type", b"application/json"), (b"content-length", b"9")]}
PIECE = {"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True}
LAST = {"type": "http.response.body", "body": b"data: 2\n\n", "more_body": False}


@pytest.mark.parametrize(
    ("sent", "more"),
    [
        ([], [503, b"stopped"]),
        ([STREAM], [b"event: error"]),
        ([STREAM, PIECE], [b"event: error"]),
        ([STREAM, PIECE, LAST], []),
        ([JSON], []),  # the server closes the connection: it has no end
        ([JSON, PIECE], []),
    ],
)
def test_who_is_cut_off_is_told_where_an_answer_can_still_say_so(
    sent: list[dict[str, Any]], more: list[Any]
) -> None:
    passed: list[Any] = []

    async def send(message: Any) -> None:
        passed.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in sent:
            await send(message)
        await asyncio.sleep(1000)

    async def scenario() -> None:
        task = asyncio.ensure_future(CutOff(app)({"type": "http"}, read_nothing, send))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    asyncio.run(scenario())
    assert passed[: len(sent)] == sent
    told = passed[len(sent) :]
    assert len(told) == len(more)
    for message, part in zip(told, more, strict=True):
        assert message["status"] == part if isinstance(part, int) else part in message["body"]
    assert not told or not told[-1].get("more_body", False)


def test_a_client_that_reads_nothing_cannot_hold_up_the_end() -> None:
    async def send(_: Any) -> None:
        await asyncio.sleep(1000)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1000)

    async def scenario() -> None:
        task = asyncio.ensure_future(CutOff(app)({"type": "http"}, read_nothing, send))
        for _ in range(2):
            await asyncio.sleep(0.01)
            task.cancel()
        await task

    asyncio.run(scenario())


async def read_nothing() -> Any:
    """Of a client that has nothing more to say."""
    await asyncio.sleep(1000)
