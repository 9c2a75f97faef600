"""Any replica, or the less loaded of any two."""

from __future__ import annotations

import random

from sagesched.balance.base import Chooser
from sagesched.balance.counted import Counted
from sagesched.balance.kinds import Query, ReplicaLoad


class Random(Chooser):
    """Each healthy replica with the same chance, from a seed."""

    name = "random"

    def __init__(self, replicas: int, *, seed: int = 0) -> None:
        self._draw = random.Random(seed)
        super().__init__(replicas)

    def choose(self, query: Query) -> int:
        """Drawn anew every time."""
        candidates = self._candidates()
        return candidates[self._draw.randrange(len(candidates))]

    def sent(self, index: int, query: Query) -> None:
        """Nothing depends on it."""
        self._check(index)

    def finished(self, key: str) -> None:
        """Nothing depends on it."""

    def observe(self, index: int, load: ReplicaLoad) -> None:
        """Nothing depends on it."""
        self._check(index)


class PowerOfTwo(Counted):
    """Of two healthy replicas drawn at random the one with fewer requests open."""

    name = "power_of_two"

    def __init__(self, replicas: int, *, seed: int = 0, answers: bool = True) -> None:
        self._draw = random.Random(seed)
        super().__init__(replicas, answers=answers)

    def choose(self, query: Query) -> int:
        """Drawn anew every time."""
        candidates = self._candidates()
        if len(candidates) == 1:
            return candidates[0]
        first, second = self._draw.sample(candidates, 2)
        return min(first, second, key=self._requests)
