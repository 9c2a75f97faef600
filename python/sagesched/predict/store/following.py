"""What other processes have written, handed to the prediction worker in small pieces."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sagesched.predict.operations import Learn
from sagesched.predict.store.file import HistoryFile
from sagesched.predict.store.record import Record

SLICE = 8
"""Records learned at a time: two or three milliseconds in which no prompt is answered."""
PAGE = 256
"""Records read from the file at a time."""
PATIENCE_S = 0.1
"""How long to wait for the worker to learn a slice before looking after the own records again."""
GIVE_UP_S = 60.0
"""A slice not learned by then will never be."""


class Follower:
    """Reads on from a sequence number. Never takes more than half of the worker's time.

    Args:
        writer: whose records are known already.
        capacity: records that can be learned at all.
        stopped: set when nobody waits any more.
    """

    def __init__(self, writer: int, capacity: int, stopped: threading.Event) -> None:
        self.seen: int | None = None  # None: whatever the file has, up to the capacity
        self._writer = writer
        self._capacity = capacity
        self._stopped = stopped
        self._outstanding: tuple[Learn, float] | None = None  # and since when

    def advance(
        self, file: HistoryFile, space: int, budget_s: float, offer: Callable[[Learn], bool]
    ) -> None:
        """Hand on what is new, until there is nothing left, or for about `budget_s`.

        Args:
            file: to read from.
            space: number of the predictor's space in it.
            budget_s: seconds.
            offer: puts an operation in the worker's queue; False where it is too busy.
        """
        until = time.monotonic() + budget_s
        while self._is_free() and time.monotonic() < until and not self._stopped.is_set():
            last = file.last()
            after = self.seen or 0
            if self.seen is None or last - after > self._capacity:
                after = max(after, file.before_newest(space, self._capacity))
            page = file.read(space, after, last, PAGE, not_by=self._writer)
            for at in range(0, len(page), SLICE):
                part = page[at : at + SLICE]
                records = tuple(record for _, record in part)
                if time.monotonic() > until or not self._hand_on(records, offer):
                    return
                self.seen = part[-1][0]
            if len(page) < PAGE:
                self.seen = last
                return

    def _is_free(self) -> bool:
        """Whether the worker has learned the last slice."""
        if self._outstanding is None:
            return True
        learn, since = self._outstanding
        if learn.done.wait(PATIENCE_S) or time.monotonic() - since > GIVE_UP_S:
            self._outstanding = None
        return self._outstanding is None

    def _hand_on(self, records: tuple[Record, ...], offer: Callable[[Learn], bool]) -> bool:
        """False where the worker is busy; True means handed on, mostly learned by now, too."""
        if not self._is_free():
            return False
        learn, began = Learn(records, threading.Event()), time.monotonic()
        if not offer(learn):
            return False
        self._outstanding = (learn, began)
        if self._is_free():
            spent = time.monotonic() - began
            self._stopped.wait(min(spent, PATIENCE_S))  # the other half of its time
        return True
