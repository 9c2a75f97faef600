"""Where a replica's requests go: to the replica, or to SGLang's gateway with a header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

TARGET_HEADER = "x-smg-target-worker"
ROUTED_HEADER = "x-smg-routed-worker-id"


class Targets(Protocol):
    """Answers for one fleet."""

    def reachable(self, index: int) -> bool:
        """Whether there is a way to the replica."""

    def of(self, index: int) -> tuple[str, list[tuple[str, str]]]:
        """Base address and further headers of a request to the replica."""


class Direct:
    """To the replicas themselves."""

    def __init__(self, replicas: Sequence[str]) -> None:
        self._replicas = replicas

    def reachable(self, index: int) -> bool:
        """Always."""
        return True

    def of(self, index: int) -> tuple[str, list[tuple[str, str]]]:
        """The replica, nothing more."""
        return self._replicas[index], []


class Gateway:
    """To SGLang's gateway (``smg``), which sends a request on to the worker a header names.

    Seen with smg 1.13: the header is a place in its list of *healthy* workers, and that list is in
    the order in which the workers were registered, whatever the command line says. So the places
    are read from its ``/workers`` again and again, and answers say (``x-smg-routed-worker-id``)
    where they come from.
    """

    def __init__(self, gateway: str, replicas: Sequence[str]) -> None:
        self._gateway = gateway
        self._replicas = [_plain(url) for url in replicas]
        self._places: dict[str, int] = {}

    def learn(self, listing: Mapping[str, Any]) -> None:
        """Take the places from an answer of ``/workers``.

        Raises:
            ValueError: it is not such an answer.
        """
        workers = listing.get("workers")
        if not isinstance(workers, list):
            raise ValueError("the gateway's /workers has no list of workers")
        healthy = [worker for worker in workers if worker.get("is_healthy")]
        self._places = {_plain(str(w.get("url"))): place for place, w in enumerate(healthy)}

    def forget(self) -> None:
        """The gateway does not answer: no replica can be reached."""
        self._places = {}

    def reachable(self, index: int) -> bool:
        """Whether the gateway has the replica among its healthy workers."""
        return self._replicas[index] in self._places

    def of(self, index: int) -> tuple[str, list[tuple[str, str]]]:
        """The gateway, and the replica's place there."""
        return self._gateway, [(TARGET_HEADER, str(self._places[self._replicas[index]]))]

    def index_of(self, worker: str) -> int | None:
        """The replica with this address; None when it is not one of ours."""
        plain = _plain(worker)
        return self._replicas.index(plain) if plain in self._replicas else None


def _plain(url: str) -> str:
    return url.rstrip("/")
