"""The bounded queue between event loops and the worker."""

from __future__ import annotations

import threading
from collections import deque

from sagesched.predict.operations import Operation


class OperationQueue:
    """First in, first out; nobody who puts ever waits."""

    def __init__(self) -> None:
        self._operations: deque[Operation] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._in_hand = 0  # taken last

    def put(self, operation: Operation, max_pending: int) -> bool:
        """Append; False where `max_pending` operations wait already, or after `close`."""
        with self._changed:
            if self._closed or len(self._operations) >= max_pending:
                return False
            self._operations.append(operation)
            self._changed.notify()
            return True

    def take(self, most: int) -> list[Operation]:
        """Wait for at least one operation, take up to `most`; empty after `close`.

        Whoever takes has carried out what it took before.
        """
        with self._changed:
            self._in_hand = 0
            self._changed.wait_for(lambda: self._operations or self._closed)
            count = self._in_hand = min(most, len(self._operations))
            return [self._operations.popleft() for _ in range(count)]

    def close(self) -> list[Operation]:
        """Take no more, and return what was waiting."""
        with self._changed:
            self._closed = True
            waiting = list(self._operations)
            self._operations.clear()
            self._changed.notify_all()
            return waiting

    def busy(self) -> bool:
        """Whether operations wait, or have been taken and not carried out yet."""
        with self._changed:
            return self._in_hand > 0 or bool(self._operations)

    def __len__(self) -> int:
        return len(self._operations)
