"""Choosing victims: the worst of the batch against the best of the queue."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Key = Callable[[Any], Any]


def give_way(
    running: Sequence[Any],
    waiting: Sequence[Any],
    key: Key,
    better: Callable[[Any, Any], bool],
    most: int,
) -> list[Any]:
    """The running requests that give way to waiting ones, worst first.

    The worst running request is compared with the best waiting one, the second worst with the
    second best, and so on, until a waiting one is not better.

    Args:
        running: requests that may be preempted.
        waiting: the queue, in any order.
        key: smallest goes first; ties are decided by place in the sequence.
        better: whether a waiting request with the first key may take the place of a running one
            with the second.
        most: victims at once.
    """
    if most < 1 or not running or not waiting:
        return []
    worst = sorted(running, key=key, reverse=True)[:most]
    best = heapq.nsmallest(len(worst), waiting, key=key)
    victims = []
    for candidate, newcomer in zip(worst, best, strict=False):
        if not better(key(newcomer), key(candidate)):
            break
        victims.append(candidate)
    return victims


def outdone(
    running: Sequence[Any], waiting: Sequence[Any], key: Key, settings: Mapping[str, float]
) -> list[Any]:
    """Those whose key is ``settings["margin"]`` times that of a waiting one, worst first."""
    margin = settings["margin"]
    return give_way(
        running,
        waiting,
        key,
        lambda newcomer, victim: bool(newcomer * margin < victim),
        int(settings["most_victims"]),
    )
