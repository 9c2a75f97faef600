"""The thread that owns the history file: it writes, reads what others wrote, and prunes."""

from __future__ import annotations

import atexit
import contextlib
import logging
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator

from sagesched.predict.operations import Learn
from sagesched.predict.stats import Counters
from sagesched.predict.store.file import HistoryFile
from sagesched.predict.store.following import Follower
from sagesched.predict.store.opening import open_or_set_aside, set_aside_damaged
from sagesched.predict.store.options import HistoryOptions
from sagesched.predict.store.record import Record, Space
from sagesched.predict.store.restoring import restore
from sagesched.predict.store.schema import is_damage
from sagesched.predict.store.waiting import WaitingRecords

logger = logging.getLogger("sagesched")

INTERVAL_S = 0.3
FOLLOW_S = 0.2
"""Rest, and time for what others wrote, between two commits; with the follower's patience together
less than the second that may be lost."""
BATCH = 1024
"""Records committed at a time."""
RETRY_S = 10.0
"""After a failure the file is left alone for this long."""
PRUNE_SHARE = 64
PRUNE_AT_MOST = 5000
"""Pruned after every 64th part of what is kept, in pieces of this size."""


class HistoryKeeper:
    """Keeps what the predictor learns. No method raises for what the disk does.

    Where the file cannot be used the history lives in memory only; that is said once in the log,
    counted, and tried again every ten seconds.

    Args:
        options: the file.
        space: of the predictor's vectors.
        counters: of the service.
    """

    def __init__(self, options: HistoryOptions, space: Space, counters: Counters) -> None:
        self.failure = ""
        self._options = options
        self._space = space
        self._counters = counters
        self._writer = secrets.randbits(62)
        self._waiting = WaitingRecords()
        self._stop = threading.Event()
        self._follower = Follower(self._writer, options.capacity, self._stop)
        self._thread: threading.Thread | None = None
        self._file: HistoryFile | None = None
        self._space_id = 0
        self._retry_at = 0.0
        self._to_prune = 0  # records still to be written before the next look
        self._told: set[Space] = set()

    @property
    def keeps_text(self) -> bool:
        """Whether records should have their text."""
        return self._options.store_text

    @property
    def waiting(self) -> int:
        """Records that are not on the disk yet."""
        return len(self._waiting)

    def append(self, record: Record) -> None:
        """Have a record written within a second. Never blocks; drops it where too many wait."""
        if not self._waiting.put(record):
            self._counters.add("history_dropped")

    def restore(self, learn: Callable[[Record], bool]) -> None:
        """Before `start`: have what was stored learned, oldest first."""
        with self._tolerant():
            file = self._opened()
            capacity = self._options.capacity
            self._follower.seen, learned = restore(file, self._space_id, capacity, learn)
            self._counters.add("history_restored", learned)

    def start(self, offer: Callable[[Learn], bool]) -> None:
        """Begin to write, and to `offer` the worker what other processes wrote."""
        self._thread = threading.Thread(
            target=self._run, args=(offer,), name="sagesched-history", daemon=True
        )
        self._thread.start()
        atexit.register(self.close)

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits, and end the thread. May be called again."""
        atexit.unregister(self.close)
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self, offer: Callable[[Learn], bool]) -> None:
        while not self._stop.wait(INTERVAL_S):
            if time.monotonic() >= self._retry_at:
                with self._tolerant():
                    self._tick(offer)
        with self._tolerant():
            self._write(self._opened())
        self._counters.add("history_dropped", self.waiting)
        self._close_file()

    def _tick(self, offer: Callable[[Learn], bool]) -> None:
        file = self._opened()
        self._write(file)
        if self._to_prune <= 0:
            pruned = file.prune(self._space_id, self._options.keep, PRUNE_AT_MOST)
            if pruned < PRUNE_AT_MOST:
                self._to_prune = self._options.keep // PRUNE_SHARE
        self._follower.advance(file, self._space_id, FOLLOW_S, offer)

    def _write(self, file: HistoryFile) -> None:
        while batch := self._waiting.oldest(BATCH):
            file.append(self._space_id, self._writer, batch)
            self._counters.add("history_saved", len(batch))
            self._waiting.written(len(batch))  # after it is counted, see `Counters.snapshot`
            self._to_prune -= len(batch)
            if self.failure:
                logger.info("sagesched: the history file %s is written again.", file.path)
                self.failure = ""

    def _opened(self) -> HistoryFile:
        """The file; opened anew where it was set aside, deleted or replaced meanwhile."""
        if self._file is not None and self._file.is_in_place():
            return self._file
        replaced = self._file is not None
        self._close_file()
        file = open_or_set_aside(self._options.path)
        try:
            self._space_id = file.space_id(self._space)
            self._tell_of_others(file)
            if replaced:
                self._follower.seen = file.last()  # what was read before may be in it, too
        except BaseException:
            file.close()
            raise
        self._file = file
        return file

    def _tell_of_others(self, file: HistoryFile) -> None:
        for space, count in file.counts().items():
            if space != self._space and count and space not in self._told:
                self._told.add(space)
                logger.info(
                    "sagesched: %d records of another embedder (%s) in the history file %s are "
                    "left as they are; this server's is %s.",
                    count,
                    space,
                    file.path,
                    self._space,
                )

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None

    @contextlib.contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._counters.add("history_failures")
            if not self._replaced_damaged(error):
                self._close_file()
                self._retry_at = time.monotonic() + RETRY_S
                self._say(_reason(error))

    def _replaced_damaged(self, error: Exception) -> bool:
        """Whether the file was found to be damaged and could be set aside."""
        file = self._file
        if file is None or not (isinstance(error, sqlite3.Error) and is_damage(error)):
            return False
        with contextlib.suppress(OSError):
            set_aside_damaged(file)
            return True
        return False

    def _say(self, reason: str) -> None:
        if not self.failure:
            logger.warning(
                "sagesched: the history file %s cannot be used (%s). What is learned lives in "
                "memory only until it can; this is tried again every %g s. Look after the disk's "
                "space, the folder and its permissions.",
                self._options.path,
                reason,
                RETRY_S,
            )
        self.failure = reason


def _reason(error: Exception) -> str:
    """In words, where they cannot hold anything of a request: those of the system and SQLite."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, (OSError, sqlite3.OperationalError)):
        return str(error)
    return type(error).__name__
