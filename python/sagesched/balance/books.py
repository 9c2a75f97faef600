"""What a chooser knows of each replica: its latest report, and what was sent and has not ended."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import islice

from sagesched.balance.checks import is_possible
from sagesched.balance.kinds import ReplicaLoad

MOST_OPEN = 100_000
"""Of a replica; beyond it the oldest are taken for ended, should a caller never say `finished`."""

MOST_LOOKED = 64
"""Requests that are looked at one by one, so that a choice takes bounded time."""

MOST_LATE_S = 30.0
"""A request that was sent so long before the newest one, or after it, counts no more, whatever
reports say of their age: clocks may disagree, and be set back."""

SHARED_FOR = 20
"""Reports for which a replica is taken for shared with others after one that shows it."""


@dataclass(slots=True)
class Sent:
    """A request that was sent and has not ended.

    Attributes:
        index: the replica.
        uncached: prompt tokens that were not expected in its cache.
        prompt: prompt tokens.
        output: predicted output, tokens; NaN unknown.
        epoch: reports of the replica that had been seen when it was sent.
        sent_s: when that was, on the clock of reports; NaN unknown.
    """

    index: int
    uncached: float
    prompt: int
    output: float
    epoch: int
    sent_s: float = math.nan


@dataclass(slots=True)
class Account:
    """Of one replica.

    Attributes:
        load: its latest report; None before the first.
        epoch: reports seen.
        previous_made_s: when the report before the latest one was made; NaN unknown.
        open: requests that have not ended, oldest first.
        prompt: prompt tokens of the open ones.
        output: predicted output tokens of those that have a prediction.
        predicted: how many have.
        ended: requests that have ended since the latest report came.
        open_then: how many were open when it came.
        foreign: how many that it counts were sent by somebody else, at least; it may still count
            what has ended since the report before it.
        shared: reports until it counts as the caller's alone again.
    """

    load: ReplicaLoad | None = None
    epoch: int = 0
    previous_made_s: float = math.nan
    ended: int = 0
    open_then: int = 0
    foreign: int = 0
    shared: int = 0
    open: dict[str, Sent] = field(default_factory=dict)
    prompt: int = 0
    output: float = 0.0
    predicted: int = 0

    def enter(self, key: str, entry: Sent) -> None:
        """It is open."""
        self.open[key] = entry
        self._count(entry, 1)

    def leave(self, key: str, *, moved: bool = False) -> Sent:
        """It has ended, or was never here."""
        entry = self.open.pop(key)
        if not moved:
            self.ended += 1
        elif entry.epoch < self.epoch:
            self.open_then -= 1  # no report contains it
        self._count(entry, -1)
        if not self.open:
            self.output = 0.0  # what rounding left
        return entry

    def _count(self, entry: Sent, sign: int) -> None:
        self.prompt += sign * entry.prompt
        if entry.output == entry.output:
            self.output += sign * entry.output
            self.predicted += sign

    def hear(self, load: ReplicaLoad) -> None:
        """A report has come."""
        counted = load.running + load.waiting
        self.foreign = max(0, counted - len(self.open) - self.ended)
        self.shared = SHARED_FOR if self.foreign else max(0, self.shared - 1)
        before = self.load.made_s if self.load is not None else None
        self.previous_made_s = math.nan if before is None else before
        self.load = load
        self.epoch += 1
        self.open_then, self.ended = len(self.open), 0

    def unseen(self, answers: bool) -> int:
        """How many of the open requests the report cannot contain: the newest ones.

        A report shows the queue and the batch as they were a while ago. Where ends are known as
        late as reports, all open requests that it does not count were sent since; where they are
        known at once, it is the net change. If lately some of those it counts were of somebody
        else, it contains no more of the open ones than were open when it came. Without word of
        ends whatever is open counts, see `contains`.
        """
        if self.load is None or not answers:
            return len(self.open)
        contained = self.load.running + self.load.waiting
        if self.shared:
            contained = min(contained, self.open_then)
        return max(0, len(self.open) - contained)

    def contains(self, entry: Sent, newest_s: float) -> bool:
        """Without word of ends: whether the latest report contains it, if it has not ended.

        It does if the report before came and was made after it was sent: a report does not contain
        what comes while its step runs. Where either time is unknown it is enough that it came; what
        is on its way then is missed.
        """
        if abs(newest_s - entry.sent_s) > MOST_LATE_S:
            return True
        came = entry.epoch < self.epoch - 1
        return came and not self.previous_made_s < entry.sent_s  # NaN is not less

    def others(self, answers: bool) -> int:
        """How many that the report counts were sent by somebody else, at least."""
        if self.load is None:
            return 0
        return self.foreign if answers else self.load.running + self.load.waiting

    def newest_uncached(self, count: int) -> float:
        """Prompt tokens to compute of the ``count`` newest open ones; of many, extrapolated."""
        looked = int(min(count, MOST_LOOKED))
        if not looked:
            return 0.0
        newest = islice(reversed(self.open.values()), looked)
        return sum(entry.uncached for entry in newest) * count / looked


class Books:
    """The accounts of all replicas.

    Args:
        answers: whether the caller says `finished`. If not, it is not listened to, and a request is
            open until the second report that was made after it was sent.
    """

    def __init__(self, answers: bool = True) -> None:
        self.answers = answers
        self.accounts: list[Account] = []
        self._where: dict[str, int] = {}
        self._newest_s = -math.inf

    def __len__(self) -> int:
        return len(self._where)

    def sent(self, index: int, key: str, entry: Sent) -> None:
        """A key that is open is moved."""
        if (before := self._where.pop(key, None)) is not None:
            self.accounts[before].leave(key, moved=True)
        account = self.accounts[index]
        entry.epoch = account.epoch
        if math.isfinite(entry.sent_s):
            self._newest_s = entry.sent_s
        account.enter(key, entry)
        self._where[key] = index
        if len(account.open) > MOST_OPEN:
            self._close(next(iter(account.open)))

    def where(self, key: str) -> int | None:
        """The replica at which it is open."""
        return self._where.get(key)

    def finished(self, key: str) -> Sent | None:
        """It has ended; returns what it was. Not listened to without ``answers``."""
        return self._close(key) if self.answers else None

    def _close(self, key: str) -> Sent | None:
        index = self._where.pop(key, None)
        return None if index is None else self.accounts[index].leave(key)

    def observe(self, index: int, load: ReplicaLoad) -> bool:
        """Whether it was news: newer than the last one, and possible."""
        account = self.accounts[index]
        if account.load is not None and load.sequence <= account.load.sequence:
            return False
        if not is_possible(load):
            return False
        account.hear(load)
        if not self.answers:
            while account.open:
                key, entry = next(iter(account.open.items()))
                if not account.contains(entry, self._newest_s):
                    break
                self._close(key)
        return True

    def reset(self, index: int) -> None:
        """Another replica takes the place."""
        self._forget(self.accounts[index])
        self.accounts[index] = Account()

    def add(self) -> None:
        """A replica joined."""
        self.accounts.append(Account())

    def cut(self, replicas: int) -> None:
        """Those from ``replicas`` on are gone, with what was sent there."""
        for account in self.accounts[replicas:]:
            self._forget(account)
        del self.accounts[replicas:]

    def _forget(self, account: Account) -> None:
        for key in account.open:
            del self._where[key]
