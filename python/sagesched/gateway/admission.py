"""A bound on the requests at the replicas, and on those that wait for a place among them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator


class RejectedError(Exception):
    """No place; the message says why and is for the client."""


class Admission:
    """First come, first served.

    Args:
        places: requests at the replicas.
        waiting: requests that wait for a place.
        timeout_s: longest wait.
    """

    def __init__(self, places: int, waiting: int, timeout_s: float) -> None:
        self._free = places
        self._most_waiting = waiting
        self._timeout_s = timeout_s
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place.

        Raises:
            RejectedError: too many wait, or the wait took too long.
        """
        await self._take()
        try:
            yield
        finally:
            self._give()

    async def _take(self) -> None:
        if self._free:
            self._free -= 1
            return
        if len(self._queue) >= self._most_waiting:
            raise RejectedError("the router's queue is full")
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await asyncio.wait({turn}, timeout=self._timeout_s)
        except asyncio.CancelledError:
            if turn.done():  # the place came as the client left
                self._give()
            raise
        finally:
            with contextlib.suppress(ValueError):
                self._queue.remove(turn)
        if not turn.done():
            raise RejectedError("no replica had a place in time")

    def _give(self) -> None:
        if self._queue:
            self._queue.popleft().set_result(None)
            return
        self._free += 1
