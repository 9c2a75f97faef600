"""Which request went to which replica, so that those of a replica that died are answered.

Stock SGLang 0.5.23 serves on when a scheduler process is killed, and whoever waits for that one
waits for ever. The controller sees no answers, so an entry stays until its replica has reported
itself idle twice since, the request's id goes elsewhere, or a bound is met; telling the tokenizer
process of a request that has ended does nothing there.

A request that was sent since its replica's last report has not reached it, or not begun there: at
each prefill there is a report. It is kept whole, and goes to another replica.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple

MOST_OPEN = 16_384
"""Entries of a replica; beyond it the oldest are taken for ended."""
MOST_WHOLE = 1024
"""Requests of a replica that are kept whole."""
MOST_TOLD = 256
"""Failures that are told at once: most of a lost replica's entries have ended, and whoever hears of
them serves others, too."""
UNDER_WAY_S = 1.0
"""A request may be that long on its way to a replica that reports itself idle."""


class Entry(NamedTuple):
    """A request that was sent.

    Attributes:
        sent_s: when, by the clock that reports carry.
        worker: the tokenizer worker that waits for it; None where there is only one.
    """

    sent_s: float
    worker: str | None


def can_go_twice(request: Any) -> bool:
    """Whether it can be sent a second time: no media, which are handed over in shared memory, and
    no session, whose earlier turns are gone with the replica."""
    parts = ("mm_inputs", "session_params", "session_id", "need_wait_for_mm_inputs")
    return not any(getattr(request, part, None) for part in parts)


class Ledger:
    """Requests by replica, oldest first.

    Args:
        replicas: how many there are.
        fail: tells the tokenizer process that a request of this id, of this worker, has failed.
        most: entries kept of a replica.
    """

    def __init__(
        self, replicas: int, fail: Callable[[str, str | None], None], most: int = MOST_OPEN
    ) -> None:
        self._fail = fail
        self._most = most
        self._open: list[dict[str, Entry]] = [{} for _ in range(replicas)]
        self._whole: list[dict[str, Any]] = [{} for _ in range(replicas)]
        self._where: dict[str, int] = {}
        self._idle_s: list[float | None] = [None] * replicas
        self._untold: list[tuple[str, str | None]] = []

    def __len__(self) -> int:
        return len(self._where)

    def sent(self, index: int, request: Any, now_s: float) -> None:
        """A request is on its way to that replica; an id that is open is that one's no more."""
        rid = request.rid
        if not isinstance(rid, str):
            return
        before = self._where.pop(rid, None)
        if before is not None:
            self._open[before].pop(rid, None)
            self._whole[before].pop(rid, None)
        self._where[rid] = index
        entries = self._open[index]
        entries[rid] = Entry(now_s, getattr(request, "http_worker_ipc", None))
        if len(self._whole[index]) < MOST_WHOLE and can_go_twice(request):
            self._whole[index][rid] = request
        if len(entries) > self._most:
            self._forget(index, 1)

    def reported(self, index: int, is_idle: bool, when_s: float) -> None:
        """A replica's report of that time; what was there at the idle one before it has ended.

        It is the one before it because between two idle reports a scheduler takes in what has
        been sent to it.
        """
        whole = self._whole[index]
        while whole:
            rid = next(iter(whole))
            if self._open[index][rid].sent_s > when_s:
                break
            del whole[rid]
        before, self._idle_s[index] = self._idle_s[index], when_s if is_idle else None
        if not is_idle or before is None:
            return
        ended = 0
        for entry in self._open[index].values():
            if entry.sent_s > before - UNDER_WAY_S:
                break
            ended += 1
        self._forget(index, ended)

    def taken_up(self, index: int) -> None:
        """All that was sent there may have begun."""
        self._whole[index].clear()

    def aborted(self, rid: str, every: bool) -> None:
        """Nobody waits any more for ids that start so, or for any: they are not sent again."""
        for whole in self._whole:
            for found in [other for other in whole if every or other.startswith(rid)]:
                del whole[found]

    def lost(self, index: int) -> tuple[int, list[Any]]:
        """The replica is gone: tell of its requests, the latest first, the rest with `tell`.

        Returns:
            How many they were; and those it had not taken up, of which nobody is told, since they
            can be sent again.
        """
        entries, self._open[index] = self._open[index], {}
        whole, self._whole[index] = self._whole[index], {}
        for rid, entry in entries.items():
            self._where.pop(rid, None)
            if rid not in whole:
                self._untold.append((rid, entry.worker))
        self.tell()
        return len(entries) - len(whole), list(whole.values())

    def tell(self) -> None:
        """Tell of a few more that have failed."""
        for _ in range(min(MOST_TOLD, len(self._untold))):
            rid, worker = self._untold.pop()
            if rid not in self._where:  # the id is used again
                self._fail(rid, worker)

    def refuse(self, request: Any) -> None:
        """A request that can go nowhere has failed."""
        self._fail(str(request.rid), getattr(request, "http_worker_ipc", None))

    def _forget(self, index: int, count: int) -> None:
        for rid in list(islice(self._open[index], count)):
            del self._open[index][rid]
            self._whole[index].pop(rid, None)
            self._where.pop(rid, None)
