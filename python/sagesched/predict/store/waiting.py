"""Records on their way to the disk: the worker puts, the keeper's thread takes."""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice

from sagesched.predict.store.record import Record

MAX_WAITING = 8192
"""About 1 kB each, their texts aside."""


class WaitingRecords:
    """First in, first out; nobody who puts ever waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: deque[Record] = deque()

    def put(self, record: Record) -> bool:
        """Append; False where too many wait already."""
        with self._lock:
            if len(self._records) >= MAX_WAITING:
                return False
            self._records.append(record)
            return True

    def oldest(self, most: int) -> list[Record]:
        """The first ones; they stay until `written`."""
        with self._lock:
            return list(islice(self._records, most))

    def written(self, count: int) -> None:
        """Take the first ones out."""
        with self._lock:
            for _ in range(count):
                self._records.popleft()

    def __len__(self) -> int:
        return len(self._records)
