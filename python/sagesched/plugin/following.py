"""Requests whose predictions follow them: who still waits for one, in a scheduler.

A request leaves for the scheduler at once, and its prediction, when it has been made, comes in a
message of its own. Every rank receives both in the same order and between the same two steps, and
keeps places, not requests: when a request that has ended is forgotten is each process's own.

Who is meant is said by `Sent`: a client may use the id of a request again that was turned away,
or aborted, whose prediction is still on its way.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from sagesched.lengths import LengthDistribution
from sagesched.plugin.place import Place

Sent = tuple[str, float]
"""A request's id, and when it was sent."""

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
    """By request."""

    def __init__(self) -> None:
        self._awaited: OrderedDict[Sent, Awaited | None] = OrderedDict()  # None: turned away
        self._early: OrderedDict[Sent, LengthDistribution | None] = OrderedDict()

    def has_come(self, sent: Sent) -> bool:
        """Whether the prediction of a request that enters now was faster."""
        return sent in self._early

    def take(self, sent: Sent) -> LengthDistribution | None:
        """That prediction."""
        return self._early.pop(sent)

    def awaits(self, sent: Sent, place: Place, prompt: int) -> None:
        """A request has entered whose prediction is to come."""
        self._put(sent, Awaited(place, prompt))

    def turned_away(self, sent: Sent) -> None:
        """A request has not entered, and will not."""
        if sent in self._early:
            del self._early[sent]
        else:
            self._put(sent, None)

    def came(self, sent: Sent, predicted: LengthDistribution | None) -> Awaited | None:
        """A prediction has come; returns who awaited it, or keeps it for who may enter yet."""
        if sent in self._awaited:
            return self._awaited.pop(sent)
        self._early[sent] = predicted
        if len(self._early) > MOST_EARLY:
            self._early.popitem(last=False)
        return None

    def forget(self, sent: Sent) -> None:
        """A prediction has come that nobody is to have."""
        self._awaited.pop(sent, None)

    def _put(self, sent: Sent, awaited: Awaited | None) -> None:
        self._awaited[sent] = awaited
        if len(self._awaited) > MOST_AWAITED:
            self._awaited.popitem(last=False)
