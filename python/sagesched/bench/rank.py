"""A scheduler's step: 512 requests change, the best 256 are wanted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import attrgetter
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from sagesched import _core
from sagesched.bench.requests import COST, make_requests
from sagesched.bench.timing import interleave, no_collections, say
from sagesched.bench.verify import Check, WrongResultError, check_all
from sagesched.gittins import IndexCurve, RankEngine, gittins_index

if TYPE_CHECKING:
    from numpy.typing import NDArray

WAITING = (1_000, 10_000, 100_000)
CHANGED = 512
BEST = 256
BINS = 64
REFRESHED = (1, 8, 64, 512, 4096)
INDEX_WEIGHT = 500.0
STEPS = 10
"""In a row, of the engine and then of the list."""


@dataclass(frozen=True)
class RankRow:
    """Microseconds a step, medians."""

    waiting: int
    changed: int
    k: int
    us_per_step: float
    sort_us: float
    sort_by_key_us: float

    @property
    def speedup(self) -> float:
        """Against ``list.sort`` into the same order: by priority, key and arrival."""
        return self.sort_us / self.us_per_step


@dataclass(frozen=True)
class RefreshRow:
    """Microseconds for the indices of the changed requests, of all of them together."""

    changed: int
    kernel_us: float
    look_up_us: float


class Waiting:
    """What a scheduler written in Python keeps per request."""

    __slots__ = ("arrival", "handle", "key", "priority")

    def __init__(self, handle: int, key: float, arrival: int) -> None:
        self.handle = handle
        self.priority = 0
        self.key = key
        self.arrival = arrival


SAME_ORDER = attrgetter("priority", "key", "arrival")
KEY_ALONE = attrgetter("key")
"""Cheaper to compare, but equal keys then stay in whatever order they were in."""


@dataclass(frozen=True)
class Changes:
    """Of one step: which requests changed, and how."""

    which: NDArray[np.int64]
    handles: NDArray[np.int64]
    age: NDArray[np.float64]
    cached_len: NDArray[np.float64]


class Queue:
    """The same requests in an engine and in lists that are sorted, from step to step.

    The lists are given the new keys for nothing: what is compared is keeping the order.
    """

    def __init__(self, waiting: int) -> None:
        requests = make_requests(waiting, BINS, ages="zero")
        self.random = np.random.default_rng(3)
        self.engine = RankEngine(requests.support, COST, INDEX_WEIGHT)
        self.handles = self.engine.add_batch(
            requests.pmf, requests.prompt_len, np.arange(waiting, dtype=float)
        )
        self.requests = requests
        self.age, self.cached_len = np.zeros((2, waiting))  # as they are admitted
        self.members = [
            Waiting(handle, self.engine.key(handle), arrival)
            for arrival, handle in enumerate(self.handles.tolist())
        ]
        self.queue = sorted(self.members, key=SAME_ORDER)
        self.by_key = list(self.queue)

    def block(self, steps: int) -> list[tuple[float, float, float]]:
        """Seconds of the engine and of the two sorts, step by step, for the same changes.

        First all steps of the engine, then all of a list, so that nobody finds the caches as
        another has left them.
        """
        changes = [self._changes() for _ in range(steps)]
        engine, keys = [], []
        for change in changes:
            start = time.perf_counter()
            self.engine.update(change.handles, age=change.age, cached_len=change.cached_len)
            best = self.engine.top(BEST)
            engine.append(time.perf_counter() - start)
            keys.append([self.engine.key(handle) for handle in change.handles.tolist()])
        by_key = self._sort(self.by_key, KEY_ALONE, changes, keys)
        same = self._sort(self.queue, SAME_ORDER, changes, keys)
        if best.tolist() != [member.handle for member in self.queue[:BEST]]:
            raise WrongResultError(f"RankEngine, {len(self.members)} waiting: top is not the best")
        return list(zip(engine, same, by_key, strict=True))

    def check_keys(self) -> None:
        """The index of everybody, as its key has it, against the reference.

        Raises:
            WrongResultError: it names the row, by arrival.
        """
        keys = np.array([self.engine.key(handle) for handle in self.handles.tolist()])
        index = np.exp((keys - np.arange(len(keys))) / INDEX_WEIGHT)
        now = replace(self.requests, age=self.age, cached_len=self.cached_len)
        Check(now)(f"RankEngine, {len(keys)} waiting", index)

    def _changes(self) -> Changes:
        """Ages at which a scheduler looks again (16, 32, 64, ...), and other radix cache hits."""
        count = min(CHANGED, len(self.members))
        which = self.random.choice(len(self.members), count, replace=False)
        age = np.ldexp(16.0, self.random.integers(0, 6, count))
        cached = np.floor(self.random.random(count) * self.requests.prompt_len[which])
        self.age[which], self.cached_len[which] = age, cached
        return Changes(which, self.handles[which], age, cached)

    def _sort(
        self, queue: list[Waiting], order: Any, changes: list[Changes], keys: list[list[float]]
    ) -> list[float]:
        seconds = []
        for change, new in zip(changes, keys, strict=True):
            members = [self.members[i] for i in change.which.tolist()]
            start = time.perf_counter()
            for member, key in zip(members, new, strict=True):
                member.key = key
            queue.sort(key=order)
            queue[:BEST]
            seconds.append(time.perf_counter() - start)
        return seconds


def bench_rank(waiting: tuple[int, ...], blocks: int) -> list[RankRow]:
    """Medians over steps; after each block of them the order is compared with the list's, and
    before the first and after the last the keys with the reference."""
    rows = []
    for count in waiting:
        say(f"rank engine: {count} waiting")
        queue = Queue(count)
        with no_collections():
            queue.block(STEPS)
            queue.check_keys()
            times = [step for _ in range(blocks) for step in queue.block(STEPS)]
        queue.check_keys()
        medians = (1e6 * median(column) for column in zip(*times, strict=True))
        rows.append(RankRow(count, min(CHANGED, count), BEST, *medians))
    return rows


def bench_refresh(changed: tuple[int, ...], seconds: float) -> list[RefreshRow]:
    """The batched kernel on rows as the engine keeps them, against a look-up in kept curves."""
    rows = []
    for count in changed:
        say(f"refresh: {count} changed")
        requests = make_requests(count, BINS)
        curves = [
            IndexCurve(row, requests.support, prompt, COST)
            for row, prompt in zip(requests.pmf, requests.prompt_len.tolist(), strict=True)
        ]
        age, cached = requests.age, requests.cached_len
        arguments = requests.arguments("row-major")
        ways: dict[str, Callable[[], NDArray[np.floating]]] = {
            "kernel": lambda a=arguments: gittins_index(*a),  # type: ignore[misc]
            "look-up": lambda c=curves, a=age, h=cached: _core.look_up(c, a, h),  # type: ignore[misc]
        }
        check_all(requests, ways)
        us = {name: sample.median / 1e3 for name, sample in interleave(ways, seconds).items()}
        rows.append(RefreshRow(count, us["kernel"], us["look-up"]))
    return rows
