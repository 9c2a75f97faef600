"""What all choosers share: the replicas, and which of them are healthy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from sagesched.balance.kinds import NoReplica, Query, ReplicaLoad


class Chooser(ABC):
    """Chooses a replica for each request. Not thread-safe; safe between awaits.

    The caller says `sent` once a request is on its way (`choose` alone changes no books), and
    `finished` when it has been answered, has failed or was aborted.

    Args:
        replicas: how many there are, at least 1; all healthy at first.
    """

    name: ClassVar[str] = ""
    reads_predictions: ClassVar[bool] = False
    """Whether it looks at the predicted length of a query."""

    def __init__(self, replicas: int) -> None:
        self._healthy: list[bool] = []
        self.resize(replicas)

    @property
    def replicas(self) -> int:
        """How many there are, the unhealthy ones included."""
        return len(self._healthy)

    @abstractmethod
    def choose(self, query: Query) -> int:
        """Index of the replica that should get it.

        Raises:
            NoReplica: none is healthy.
        """

    @abstractmethod
    def sent(self, index: int, query: Query) -> None:
        """It is on its way to that replica, wherever `choose` would have it.

        Raises:
            IndexError: there is none of that index; nothing has changed. So for all that take one.
        """

    @abstractmethod
    def finished(self, key: str) -> None:
        """It has been answered, has failed or was aborted; an unknown key is ignored."""

    @abstractmethod
    def observe(self, index: int, load: ReplicaLoad) -> None:
        """What a replica reports.

        Ignored if it is not newer than the last, or cannot be, see `ReplicaLoad`.
        """

    def set_health(self, index: int, ok: bool, *, keeps_cache: bool = False) -> None:
        """A replica that is not healthy gets no requests.

        Args:
            index: of the replica.
            ok: whether it is healthy.
            keeps_cache: whether it will have what it had cached when it is healthy again; one that
                was started anew has nothing.
        """
        self._check(index)
        self._healthy[index] = ok

    def reset(self, index: int) -> None:
        """Another replica takes this place: what was known of the one before does not hold.

        Its reports may begin with any `sequence`, and requests of the old one are forgotten.
        """
        self._check(index)

    def resize(self, replicas: int) -> None:
        """Replicas were added at the end, or the last ones removed.

        Raises:
            ValueError: less than one.
        """
        if replicas < 1:
            raise ValueError(f"a chooser needs at least 1 replica, got {replicas}")
        del self._healthy[replicas:]
        while len(self._healthy) < replicas:
            self._healthy.append(True)
            self._added(len(self._healthy) - 1)
        self._removed(replicas)

    def _added(self, index: int) -> None:  # noqa: B027  # most keep nothing per replica
        """A replica joined as the last one."""

    def _removed(self, replicas: int) -> None:  # noqa: B027
        """Those from ``replicas`` on are gone."""

    def _check(self, index: int) -> None:
        """Raises `IndexError`, for a negative one, too: that is no replica counted from the end."""
        if not 0 <= index < len(self._healthy):
            raise IndexError(f"no replica {index}: there are {len(self._healthy)}, from 0 on")

    def _candidates(self) -> list[int]:
        """The healthy ones; raises `NoReplica`."""
        found = [index for index, ok in enumerate(self._healthy) if ok]
        if not found:
            raise NoReplica(f"none of {self.replicas} replicas is healthy")
        return found
