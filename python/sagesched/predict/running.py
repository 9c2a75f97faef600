"""Requests that have not ended: each has a record, and counts in the prior as longer than that."""

from __future__ import annotations

from typing import NamedTuple

from sagesched.predict.priors import Priors
from sagesched.predict.scale import Origin
from sagesched.predict.tenancy import Slots

MOST_RUNNING = 65_536
"""Beyond that the first one is taken to have ended."""


class Running(NamedTuple):
    """A request's record, and what the prior counts it as."""

    slot: int
    stamp: int
    origin: Origin
    score: float
    has_tenants: bool


class RunningRequests:
    """By key.

    A request's end takes the place of its record, as long as that has not been pushed out and the
    request is of the same origin: keys may be used again.
    """

    def __init__(self, slots: Slots, priors: Priors) -> None:
        self._slots = slots
        self._priors = priors
        self._known: dict[str, Running] = {}

    def begin(self, key: str, slot: int, origin: Origin, score: float, has_tenants: bool) -> None:
        """It runs, with a record in that slot, and counts as longer than that in the prior."""
        self._priors.running(origin, score, 1.0, has_tenants)
        self._known[key] = Running(slot, self._slots.stamp(slot), origin, score, has_tenants)
        if len(self._known) > MOST_RUNNING:
            self.end(next(iter(self._known)))

    def end(self, key: str) -> Running | None:
        """It runs no longer; what was known of it."""
        known = self._known.pop(key, None)
        if known is not None:
            self._priors.running(known.origin, known.score, -1.0, known.has_tenants)
        return known

    def take_slot(self, key: str | None, origin: Origin) -> int | None:
        """It runs no longer; the slot of its record, if that is still there."""
        known = self.end(key) if key is not None else None
        if known is None or known.origin != origin:
            return None
        return known.slot if self._slots.stamp(known.slot) == known.stamp else None

    def __len__(self) -> int:
        return len(self._known)
