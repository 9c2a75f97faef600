"""The load generator: streams requests to SGLang's native route and times them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from .replay import Replay
from .workload import Request, Workload

Progress = Callable[[int], None]
"""Called with the number of requests that are finished."""

REQUEST_TIMEOUT_S = 900.0


@dataclass(frozen=True)
class Outcome:
    """What the client saw of one request; times in seconds of the run's clock.

    Attributes:
        due: when the request was to be sent.
        sent: when it was sent.
        first: when the first token arrived; None if none did.
        done: when the stream ended.
        tokens: completion tokens as the server counted them.
        error: why it failed, None if it did not.
        cached: prompt tokens that the radix cache had.
        retractions: how often the server retracted it.
    """

    due: float
    sent: float
    first: float | None
    done: float
    tokens: int = 0
    error: str | None = None
    cached: int = 0
    retractions: int = 0

    @property
    def ttft(self) -> float:
        """Time to the first token, from when the request was due."""
        return (self.done if self.first is None else self.first) - self.due

    @property
    def ttlt(self) -> float:
        """Time to the last token, from when the request was due."""
        return self.done - self.due


def request_body(request: Request, workload: Workload, replay: Replay) -> dict[str, Any]:
    """The body for ``POST /generate``.

    Apart from the text only ``custom_params`` differs between two requests.
    """
    return {
        "text": request.text,
        "stream": True,
        "custom_logit_processor": replay.processor,
        "sampling_params": {
            "max_new_tokens": workload.max_new_tokens,
            "temperature": 1.0,
            "custom_params": replay.params(request.output_tokens),
            **replay.sampling,
        },
    }


class Client:
    """Sends requests to one server; use it as ``async with Client.connect(...) as client``."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, workload: Workload, replay: Replay
    ) -> None:
        self._session = session
        self._url = url
        self._workload = workload
        self._replay = replay

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str, workload: Workload, replay: Replay) -> AsyncIterator[Client]:
        """A client with a session of its own and no limit on connections."""
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        # A connection each: a kept one may be closed by the server while the next request uses it.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            yield cls(session, url, workload, replay)

    async def closed_loop(
        self, requests: Sequence[Request], concurrency: int, progress: Progress
    ) -> list[Outcome]:
        """Keep ``concurrency`` requests in the server until all are done, in order."""
        start = time.perf_counter()
        places = asyncio.Semaphore(concurrency)
        done = 0

        async def one(request: Request) -> Outcome:
            nonlocal done
            async with places:
                outcome = await self._send(request, start, time.perf_counter() - start)
            done += 1
            progress(done)
            return outcome

        return await asyncio.gather(*map(one, requests))

    async def open_loop(
        self, requests: Sequence[Request], arrivals: Sequence[float], progress: Progress
    ) -> list[Outcome]:
        """Send each request at its time, whatever the server does."""
        start = time.perf_counter()
        done = 0

        async def one(request: Request, due: float) -> Outcome:
            nonlocal done
            await asyncio.sleep(max(0.0, start + due - time.perf_counter()))
            outcome = await self._send(request, start, due)
            done += 1
            progress(done)
            return outcome

        return await asyncio.gather(*map(one, requests, arrivals))

    async def flush_cache(self) -> None:
        """Empty the server's radix cache.

        Raises:
            RuntimeError: the server refused, which it does while requests are running.
        """
        for _ in range(20):  # the last batch may still be on its way out
            async with self._session.post(f"{self._url}/flush_cache") as response:
                if response.status == 200:
                    return
                answer = await response.text()
            await asyncio.sleep(0.25)
        raise RuntimeError(f"the server did not flush its radix cache: {answer[:200]}")

    async def _send(self, request: Request, start: float, due: float) -> Outcome:
        body = request_body(request, self._workload, self._replay)
        sent = time.perf_counter() - start
        first: float | None = None
        last = b""
        error: str | None = None
        try:
            async with self._session.post(f"{self._url}/generate", json=body) as response:
                if response.status != 200:
                    error = f"HTTP {response.status}: {(await response.text())[:200]}"
                else:
                    async for line in response.content:
                        if line.startswith(b"data:") and b"[DONE]" not in line:
                            first = time.perf_counter() - start if first is None else first
                            last = line
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as failure:
            error = f"{type(failure).__name__}: {failure}"
        done = time.perf_counter() - start
        return _outcome(due, sent, first, done, last, error)


def _outcome(
    due: float, sent: float, first: float | None, done: float, last: bytes, error: str | None
) -> Outcome:
    """Judge a finished stream by its last event, which carries the server's own count."""
    if error is None and not last:
        error = "the server ended the stream without a token"
    if error is not None:
        return Outcome(due, sent, first, done, error=error)
    event = json.loads(last.removeprefix(b"data:"))
    if "error" in event:
        return Outcome(due, sent, first, done, error=str(event["error"])[:200])
    meta = event["meta_info"]
    finish = meta.get("finish_reason")
    if not finish or finish.get("type") == "abort":
        return Outcome(due, sent, first, done, error=f"ended early: {finish}"[:200])
    return Outcome(
        due,
        sent,
        first,
        done,
        tokens=int(meta["completion_tokens"]),
        cached=int(meta.get("cached_tokens") or 0),
        retractions=int(meta.get("num_retractions") or 0),
    )
