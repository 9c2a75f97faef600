"""Times of several contenders in one run, taken in turn."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

TURN_NS = 500_000
WARM_UP_NS = 150_000
CALLS_IN_A_TURN = 20
ROUNDS = (5, 400)
"""At least, whatever the budget says, and at most."""

Contender = Callable[[], Any]


@dataclass(frozen=True)
class Sample:
    """Nanoseconds of a call: the quartiles of all that were timed."""

    low: float
    median: float
    high: float
    calls: int

    @classmethod
    def of(cls, times: list[int]) -> Sample:
        if len(times) < 2:
            times = times * 2
        low, median, high = quantiles(times, n=4, method="inclusive")
        return cls(low, median, high, len(times))


def interleave(
    contenders: Mapping[str, Contender], seconds: float, rounds: tuple[int, int] = ROUNDS
) -> dict[str, Sample]:
    """Time every contender by name; a slow phase of the machine hits all of them.

    Every round gives each its turn: calls for a while that do not count, so that it finds its own
    data in the caches and the processor's wide units awake (which takes tens of microseconds), then
    calls for half a millisecond, one at least.
    """
    times: dict[str, list[int]] = {name: [] for name in contenders}
    with no_collections():
        end = time.monotonic() + seconds
        for done in range(rounds[1]):
            if done >= rounds[0] and time.monotonic() > end:
                break
            for name, call in contenders.items():
                times[name] += _turn(call)
    return {name: Sample.of(found) for name, found in times.items()}


def _turn(call: Contender) -> list[int]:
    start = time.perf_counter_ns()
    call()
    while time.perf_counter_ns() - start < WARM_UP_NS:
        call()
    taken: list[int] = []
    left = TURN_NS
    while left > 0 and len(taken) < CALLS_IN_A_TURN:
        start = time.perf_counter_ns()
        call()
        taken.append(time.perf_counter_ns() - start)
        left -= taken[-1]
    return taken


@contextmanager
def no_collections() -> Iterator[None]:
    """Without Python's garbage collector, whose runs would hit whoever is timed just then."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def say(text: str) -> None:
    """Progress, to stderr."""
    print(text, file=sys.stderr, flush=True)
