"""A request router for Ray Serve: our choosers decide which replica of a deployment gets a request.

A deployment's option::

    request_router_config=RequestRouterConfig(
        request_router_class="sagesched.balance.ray.SalRequestRouter",
        request_router_kwargs={"balance": "sal"},
        request_routing_stats_period_s=0.5,
    )

Its class reports loads: ``record_routing_stats`` returns a load of SGLang's ``/v1/loads`` as a
dict, or ``{"loads": [...]}`` with one for each data-parallel rank. The prompt is that of the call's
first argument that has one (``request_body.py``), so route the deployment that is called with the
body, not the ingress, whose argument is the HTTP request before its body.

Every handle has a router of its own: it knows what went through it, and the reports tell the rest.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from sagesched.balance import Chooser, NoReplica, Query
from sagesched.balance.registry import chooser_with
from sagesched.balance.reported import LoadReader
from sagesched.balance.request_body import Asked, read_body
from sagesched.predict.errors import describe

logger = logging.getLogger("ray.serve")


@dataclass
class _Slot:
    """A place among the chooser's replicas; a replica that goes leaves it to the next one."""

    replica: ReplicaID | None = None
    reader: LoadReader | None = None
    stats: Any = None
    running: RunningReplica | None = None


@dataclass
class _Open:
    """A request that is counted at a replica.

    Attributes:
        replica: where.
        routed: whether that one has accepted it; else it was only chosen.
    """

    replica: ReplicaID | None
    routed: bool


class SalRequestRouter(RequestRouter):  # type: ignore[misc]  # Ray's types are not followed
    """Sends a request to the replica that the chooser names, and if that one is full, elsewhere.

    A replica that dies gets no more requests. Ray sends those that it had not accepted again,
    through this router, and fails the others with ``RayActorError``.
    """

    def initialize_state(self, balance: str = "sal", seed: int = 0, **constants: Any) -> None:
        """Of ``request_router_kwargs``.

        Raises:
            ValueError: unknown chooser or constant.
        """
        self._chooser: Chooser = chooser_with(balance, 1, seed, constants)
        self._chooser.set_health(0, False)
        self._slots = [_Slot()]
        self._numbers: dict[ReplicaID, int] = {}
        self._known: dict[
            int, int
        ] = {}  # the same by id of what Ray holds: ids are slow to compare
        self._open: dict[str, dict[str, _Open]] = {}
        self._keys = 0
        self._warned: set[str] = set()

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """First the chosen one, then all others; after an error of ours, as Ray would: all."""
        if pending_request is None:
            return [candidate_replicas]
        # Else Ray asks again at once, and again, where all are full.
        pending_request.routing_context.should_backoff = True
        try:
            self._observe(candidate_replicas)
            number = self._choose(pending_request)
        except NoReplica:
            return [candidate_replicas]
        except Exception as error:
            self._warn("a choice failed, the request goes anywhere", error)
            return [candidate_replicas]
        first: list[RunningReplica] = []
        others: list[RunningReplica] = []
        for replica in candidate_replicas:
            (first if self._number_of(replica) == number else others).append(replica)
        return [first, others]

    def on_request_routed(
        self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any
    ) -> None:
        """A replica has accepted it, perhaps another one than was chosen."""
        try:
            self._enter(pending_request, replica_id, routed=True)
        except Exception as error:
            self._warn("a request was not noted", error)

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """Answered, failed, or not accepted: such a one is chosen for anew.

        Calls that one request makes share the id. Where another replica was chosen than Ray sent it
        to, and the caller left before that one had accepted, nobody was told where it was.
        """
        calls = self._open.get(internal_request_id, {})
        here = [key for key, one in calls.items() if one.replica == replica_id]
        lost = [key for key, one in calls.items() if not one.routed]
        for key in (here or lost)[:1]:
            try:
                self._leave(internal_request_id, key)
            except Exception as error:
                self._warn("the end of a request was not noted", error)

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """Replicas have come or gone."""
        ids = {replica.replica_id for replica in replicas}
        for slot in self._slots:
            if slot.replica is not None and slot.replica not in ids:
                self._vacate(slot.replica)
        known = {slot.replica for slot in self._slots}
        for replica_id in sorted(ids - known, key=str):
            self._occupy(replica_id)
        super().update_replicas(replicas)
        self._known.clear()
        self._observe(replicas)

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        """Heard from the replica itself, before the controller says so."""
        super().on_replica_actor_died(replica_id)
        self._vacate(replica_id)

    def _choose(self, request: PendingRequest) -> int:
        """The number of the slot."""
        query = self._query_of(request)
        self._leave(request.metadata.internal_request_id, query.key)  # an earlier attempt
        slot = self._chooser.choose(query)
        self._enter(request, self._slots[slot].replica)
        return slot

    def _enter(
        self, request: PendingRequest, replica_id: ReplicaID | None, *, routed: bool = False
    ) -> None:
        slot = None if replica_id is None else self._numbers.get(replica_id)
        query = self._query_of(request)
        if slot is None:  # it has just gone; nor is it where it was chosen for
            self._leave(request.metadata.internal_request_id, query.key)
            return
        calls = self._open.setdefault(request.metadata.internal_request_id, {})
        calls[query.key] = _Open(replica_id, routed)
        self._chooser.sent(slot, query)

    def _leave(self, request_id: str, key: str) -> None:
        keys = self._open.get(request_id, {})
        if keys.pop(key, None) is not None and not keys:
            del self._open[request_id]
        self._chooser.finished(key)

    def _occupy(self, replica_id: ReplicaID) -> None:
        free = next((n for n, slot in enumerate(self._slots) if slot.replica is None), None)
        if free is None:
            free = len(self._slots)
            self._slots.append(_Slot())
            self._chooser.resize(len(self._slots))
        self._slots[free] = _Slot(replica_id, LoadReader())
        self._numbers[replica_id] = free
        self._chooser.reset(free)
        self._chooser.set_health(free, True)

    def _vacate(self, replica_id: ReplicaID) -> None:
        number = self._numbers.pop(replica_id, None)
        if number is None:
            return
        self._slots[number] = _Slot()
        self._chooser.set_health(number, False)

    def _number_of(self, replica: RunningReplica) -> int | None:
        number = self._known.get(id(replica))
        if number is None or self._slots[number].running is not replica:
            number = self._numbers.get(replica.replica_id)
            if number is not None:
                self._known[id(replica)] = number
                self._slots[number].running = replica
        return number

    def _observe(self, replicas: list[RunningReplica]) -> None:
        """Take reports that are new; a bad one leaves the last one in force."""
        for replica in replicas:
            number, stats = self._number_of(replica), replica.routing_stats
            if number is None or not stats:
                continue
            slot = self._slots[number]
            if stats is slot.stats or stats == slot.stats:
                continue
            slot.stats = stats
            assert slot.reader is not None
            try:
                load = slot.reader.read(stats.get("loads") or [stats])
            except Exception as error:
                self._warn("record_routing_stats of a replica returns no load", error)
                continue
            self._chooser.observe(number, load)

    def _query_of(self, request: PendingRequest) -> Query:
        """The same for all attempts of a request."""
        known = getattr(request, "sagesched_query", None)
        if known is None:
            self._keys += 1
            known = _asked(request).query(str(self._keys))
            request.sagesched_query = known
        query: Query = known
        # A request that was not accepted waits with another future.
        if getattr(request, "sagesched_future", None) is not request.future:
            request.sagesched_future = request.future
            request_id = request.metadata.internal_request_id
            request.future.add_done_callback(
                lambda future: self._leave(request_id, query.key) if future.cancelled() else None
            )  # the caller gave it up before it was sent
        return query

    def _warn(self, what: str, error: Exception) -> None:
        """Once each, and without the message, which may quote a prompt."""
        if what not in self._warned:
            self._warned.add(what)
            logger.warning("sagesched: %s: %s", what, describe(error))


def _asked(request: PendingRequest) -> Asked:
    """The first argument with a prompt."""
    asked = read_body(None)
    for argument in (*request.args, *request.kwargs.values()):
        asked = read_body(argument)
        if asked.prompt_tokens:
            break
    return asked
