"""Requests whose predictions follow them: who still waits for one, in a scheduler.

A request leaves for the scheduler at once, and its prediction, when it has been made, comes in a
message of its own. Every rank receives both in the same order and between the same two steps, and
keeps places, not requests: when a request that has ended is forgotten is each process's own.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from sagesched.lengths import LengthDistribution
from sagesched.plugin.place import Place

MOST_EARLY = 1024
"""Predictions kept of requests that are not in the queue yet: their grammar is being compiled."""
MOST_AWAITED = 65_536
"""Places kept; of requests that ended before they were predicted no prediction comes."""


@dataclass(frozen=True)
class Awaited:
    """A request that has entered.

    Attributes:
        place: that it was given.
        prompt: its tokens.
    """

    place: Place
    prompt: int


class Following:
    """By request id."""

    def __init__(self) -> None:
        self._awaited: OrderedDict[str, Awaited] = OrderedDict()
        self._early: OrderedDict[str, LengthDistribution | None] = OrderedDict()

    def has_come(self, rid: str) -> bool:
        """Whether the prediction of a request that enters now was faster."""
        return rid in self._early

    def take(self, rid: str) -> LengthDistribution | None:
        """That prediction."""
        return self._early.pop(rid)

    def awaits(self, rid: str, place: Place, prompt: int) -> None:
        """A request has entered whose prediction is to come."""
        self._awaited[rid] = Awaited(place, prompt)
        if len(self._awaited) > MOST_AWAITED:
            self._awaited.popitem(last=False)

    def came(self, rid: str, predicted: LengthDistribution | None) -> Awaited | None:
        """A prediction has come; returns who awaited it, or keeps it for who may enter yet."""
        awaited = self._awaited.pop(rid, None)
        if awaited is None:
            self._early[rid] = predicted
            if len(self._early) > MOST_EARLY:
                self._early.popitem(last=False)
        return awaited
