"""Of a burst only so many requests go on in one turn of the event loop.

What we do for one takes some 50 us between two awaits. When a hundred arrive at once, the loop
would run all of it before it looks at anything else: streams of other requests, timers, sockets.
"""

from __future__ import annotations

import asyncio

MOST_A_TURN = 4


class Turns:
    """First come, first served."""

    def __init__(self) -> None:
        self._taken = 0

    async def take(self) -> None:
        """Wait until this turn of the loop has room for one more."""
        while self._taken >= MOST_A_TURN:
            await asyncio.sleep(0)
        if self._taken == 0:
            asyncio.get_running_loop().call_soon(self._next)
        self._taken += 1

    def _next(self) -> None:
        self._taken = 0
