"""Sends the requests, so many at a time, and leaves some of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

import aiohttp

from bench.soak.plan import ABORT, HANG_UP, Ask

SENT_S = 0.05
"""Time enough for a request to be sent, before its client leaves."""
TIMEOUT_S = 300.0
"""Far more than any request takes; one that takes longer is lost."""


def session() -> aiohttp.ClientSession:
    """A client without limits that ignores proxies."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        trust_env=False,
    )


async def send_all(
    url: str, asks: Iterable[Ask], at_once: int, ended: Callable[[Ask], None]
) -> None:
    """Send every one as soon as fewer than ``at_once`` are under way; ``ended`` is told of each."""
    places = asyncio.Semaphore(at_once)

    async def one(client: aiohttp.ClientSession, ask: Ask) -> None:
        try:
            await _send(client, url, ask)
        except (aiohttp.ClientError, asyncio.TimeoutError, ValueError) as error:
            ask.error = f"{type(error).__name__}: {error}"
        finally:
            places.release()
        ended(ask)

    under_way: set[asyncio.Task[None]] = set()
    async with session() as client:
        for ask in asks:
            await places.acquire()
            task = asyncio.create_task(one(client, ask))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)


async def _send(client: aiohttp.ClientSession, url: str, ask: Ask) -> None:
    """One request to its end, or to its client's."""
    if ask.kind == HANG_UP:
        try:
            await asyncio.wait_for(_read(client, url, ask), max(ask.patience_s, SENT_S))
        except asyncio.TimeoutError:
            ask.ended = True
        return
    reading = asyncio.create_task(_read(client, url, ask))
    try:
        if ask.kind == ABORT:
            await asyncio.wait({reading}, timeout=ask.patience_s)
            async with client.post(url + "/abort_request", json={"rid": ask.rid}) as response:
                await response.read()
        await reading
    finally:
        reading.cancel()


async def _read(client: aiohttp.ClientSession, url: str, ask: Ask) -> None:
    async with client.post(url + "/generate", json=ask.body()) as response:
        ask.status = response.status
        if not ask.streams:
            _note(ask, json.loads(await response.read()))
        else:
            async for line in response.content:
                text = line.strip().removeprefix(b"data: ")
                if text and text != b"[DONE]":
                    _note(ask, json.loads(text))
    ask.ended = True


def _note(ask: Ask, answer: Any) -> None:
    """What the server says of it so far."""
    if "error" in answer:
        ask.reason = str(answer["error"].get("message", answer["error"]))[:200]
        return
    about = answer["meta_info"]
    ask.produced = int(about["completion_tokens"])
    ask.reason = (about.get("finish_reason") or {}).get("type", "")
