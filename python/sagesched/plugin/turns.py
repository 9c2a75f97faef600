"""Of a burst only so many requests go on in one turn of the event loop.

What we do for one takes some 50 us between two awaits. When a hundred arrive at once, the loop
would run all of it before it looks at anything else: streams of other requests, timers, sockets.
"""

from __future__ import annotations

import asyncio
from collections import deque

MOST_A_TURN = 4


class Turns:
    """First come, first served; O(1) for each request, however many wait."""

    def __init__(self) -> None:
        self._taken = 0  # in this turn
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Wait until a turn of the loop has room for one more."""
        loop = asyncio.get_running_loop()
        if self._taken == 0:
            loop.call_soon(self._next, loop)
        if self._taken < MOST_A_TURN:
            self._taken += 1
            return
        place = loop.create_future()
        self._waiting.append(place)
        await place

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._taken = 0
        while self._waiting and self._taken < MOST_A_TURN:
            place = self._waiting.popleft()
            if not place.done():  # cancelled while it waited
                place.set_result(None)
                self._taken += 1
        if self._taken:
            loop.call_soon(self._next, loop)
