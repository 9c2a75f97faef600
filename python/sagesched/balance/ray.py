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
        self._open: dict[str, dict[str, ReplicaID]] = {}
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
        try:
            self._observe(candidate_replicas)
            chosen = self._choose(pending_request)
        except NoReplica:
            return [candidate_replicas]
        except Exception as error:
            self._warn("a choice failed, the request goes anywhere", error)
            return [candidate_replicas]
        first = [replica for replica in candidate_replicas if replica.replica_id == chosen]
        others = [replica for replica in candidate_replicas if replica.replica_id != chosen]
        return [first, others]

    def on_request_routed(
        self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any
    ) -> None:
        """A replica has accepted it, perhaps another one than was chosen."""
        try:
            self._enter(pending_request, replica_id)
        except Exception as error:
            self._warn("a request was not noted", error)

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """Answered, failed, or not accepted: such a one is chosen for anew."""
        # Calls that one request makes share the id.
        for key, where in self._open.get(internal_request_id, {}).items():
            if where == replica_id:
                try:
                    self._leave(internal_request_id, key)
                except Exception as error:
                    self._warn("the end of a request was not noted", error)
                return

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
        self._observe(replicas)

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        """Heard from the replica itself, before the controller says so."""
        super().on_replica_actor_died(replica_id)
        self._vacate(replica_id)

    def _choose(self, request: PendingRequest) -> ReplicaID | None:
        query = self._query_of(request)
        self._leave(request.metadata.internal_request_id, query.key)  # an earlier attempt
        slot = self._chooser.choose(query)
        replica_id = self._slots[slot].replica
        self._enter(request, replica_id)
        return replica_id

    def _enter(self, request: PendingRequest, replica_id: ReplicaID | None) -> None:
        slot = None if replica_id is None else self._slot_of(replica_id)
        query = self._query_of(request)
        if slot is None:  # it has just gone; nor is it where it was chosen for
            self._leave(request.metadata.internal_request_id, query.key)
            return
        self._open.setdefault(request.metadata.internal_request_id, {})[query.key] = replica_id
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
        self._chooser.reset(free)
        self._chooser.set_health(free, True)

    def _vacate(self, replica_id: ReplicaID) -> None:
        number = self._slot_of(replica_id)
        if number is None:
            return
        self._slots[number] = _Slot()
        self._chooser.set_health(number, False)

    def _slot_of(self, replica_id: ReplicaID) -> int | None:
        found = (n for n, slot in enumerate(self._slots) if slot.replica == replica_id)
        return next(found, None)

    def _observe(self, replicas: list[RunningReplica]) -> None:
        """Take reports that are new; a bad one leaves the last one in force."""
        for replica in replicas:
            number, stats = self._slot_of(replica.replica_id), replica.routing_stats
            if number is None or not stats or stats == self._slots[number].stats:
                continue
            slot = self._slots[number]
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
            request_id = request.metadata.internal_request_id
            request.future.add_done_callback(
                lambda future: self._leave(request_id, known.key) if future.cancelled() else None
            )  # the caller gave it up before it was sent
        query: Query = known
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
