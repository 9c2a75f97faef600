"""Requests whose predictions follow them: who still waits for one, in a scheduler.

A request leaves for the scheduler at once, and its prediction, when it has been made, comes in a
message of its own. Every rank receives both in the same order and between the same two steps.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any
from weakref import WeakValueDictionary

from sagesched.lengths import LengthDistribution

MOST_EARLY = 1024
"""Predictions kept of requests that are not in the queue yet (their grammar is being compiled) or
any more."""


class Following:
    """By request id. Holds on to no request."""

    def __init__(self) -> None:
        self._awaited: WeakValueDictionary[str, Any] = WeakValueDictionary()
        self._early: OrderedDict[str, LengthDistribution | None] = OrderedDict()

    def has_come(self, rid: str) -> bool:
        """Whether the prediction of a request that enters now was faster."""
        return rid in self._early

    def take(self, rid: str) -> LengthDistribution | None:
        """That prediction."""
        return self._early.pop(rid)

    def awaits(self, request: Any) -> None:
        """A request has entered whose prediction is to come."""
        self._awaited[request.rid] = request

    def came(self, rid: str, predicted: LengthDistribution | None) -> Any | None:
        """A prediction has come; returns who awaited it, or keeps it for who may enter yet."""
        request = self._awaited.pop(rid, None)
        if request is None:
            self._early[rid] = predicted
            if len(self._early) > MOST_EARLY:
                self._early.popitem(last=False)
        return request
