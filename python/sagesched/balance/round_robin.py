"""One after the other."""

from __future__ import annotations

from sagesched.balance.base import Chooser
from sagesched.balance.kinds import NoReplica, Query, ReplicaLoad


class RoundRobin(Chooser):
    """SGLang's ``round_robin``: the next healthy replica in turn."""

    name = "round_robin"

    def __init__(self, replicas: int) -> None:
        self._next = 0
        super().__init__(replicas)

    def choose(self, query: Query) -> int:
        """The first healthy one from the turn on."""
        for step in range(self.replicas):
            index = (self._next + step) % self.replicas
            if self._healthy[index]:
                return index
        raise NoReplica(f"none of {self.replicas} replicas is healthy")

    def sent(self, index: int, query: Query) -> None:
        """The turn goes on behind it."""
        self._check(index)
        self._next = index + 1

    def finished(self, key: str) -> None:
        """Nothing depends on it."""

    def observe(self, index: int, load: ReplicaLoad) -> None:
        """Nothing depends on it."""
        self._check(index)
