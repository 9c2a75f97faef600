"""Requests that opted out: each keeps its place by arrival, as if it were an average request."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from sagesched.gittins import RankEngine
from sagesched.plugin.anchor import Keys


class OptedOut:
    """Those of one queue.

    Args:
        engine: that they wait in.
    """

    def __init__(self, engine: RankEngine) -> None:
        self._engine = engine
        self._requests: dict[int, Any] = {}  # handle -> request
        self._levelled_by: tuple[Keys, float] | None = None

    def enter(self, handle: int, request: Any, keys: Keys, centre: float) -> None:
        """One of them waits; arguments as of `level`."""
        self._requests[handle] = request
        self.level(keys, centre, [handle])

    def leave(self, handle: int) -> None:
        """A request waits no more; it may be any."""
        self._requests.pop(handle, None)

    def follow(self, keys: Keys, centre: float) -> bool:
        """Level them where the average is another; returns whether they were levelled."""
        average = (keys, centre)
        if not self._requests or self._levelled_by == average:
            return False
        self._levelled_by = average
        self.level(keys, centre)
        return True

    def level(self, keys: Keys, centre: float, handles: Iterable[int] | None = None) -> None:
        """Rank them as if their ``ln(index)`` were the mean of the traffic: by a boost.

        Rounding must not decide between two of them that came in one step: far less than a step
        is added by their numbers.

        Args:
            keys: what keys are made with.
            centre: mean ``ln(index)`` of the traffic.
            handles: of whom; None for all.
        """
        chosen = list(self._requests if handles is None else handles)
        centre = min(max(centre, keys.low), keys.high)
        weight = 1.0 if math.isinf(keys.weight) else keys.weight
        boosts = []
        for handle in chosen:
            moved = min(max(self._engine.log_index(handle), keys.low), keys.high)
            number = self._requests[handle]._sagesched_place.sequence if weight else 0
            boosts.append(weight * (centre - moved) + number % 4096 * 2.0**-20)
        self._engine.set_boost(chosen, boosts)
