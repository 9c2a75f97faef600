"""A request router for Ray Serve: our choosers decide which replica of a deployment gets a request.

A deployment's option::

    request_router_config=RequestRouterConfig(
        request_router_class="sagesched.balance.ray.SalRequestRouter",
        request_router_kwargs={"balance": "sal"},
        request_routing_stats_period_s=0.5,
    )

Its class reports loads: ``record_routing_stats`` returns a load of SGLang's ``/v1/loads`` as a dict,
or ``{"loads": [...]}`` with one for each data-parallel rank. Prompts are taken from the call's first
argument that has one (``request_body.py``), so route the deployment that is called with the body,
not the ingress, whose argument is the HTTP request before its body.

Every handle has a router of its own: it knows what went through it, and the reports tell the rest.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from sagesched.balance import Chooser, NoReplica, Query, make_chooser
from sagesched.balance.reported import LoadReader
from sagesched.balance.request_body import Asked, read_body

logger = logging.getLogger("ray.serve")


@dataclass
class _Slot:
    """A place among the chooser's replicas; a replica that goes leaves it to the next one."""

    replica: ReplicaID | None = None
    reader: LoadReader | None = None
    stats: Any = None


class SalRequestRouter(RequestRouter):  # type: ignore[misc]  # Ray's types are not followed
    """Sends a request to the replica that the chooser names, and if that one is full, elsewhere.

    A replica that dies gets no more requests. Ray sends those that it had not accepted again, through
    this router, and fails the others with ``RayActorError``; it never answers for a lost one.
    """

    def initialize_state(self, balance: str = "sal", seed: int = 0, **constants: Any) -> None:
        """Of ``request_router_kwargs``.

        Raises:
            ValueError: unknown chooser or constant.
        """
        self._chooser: Chooser = make_chooser(balance, 1, seed=seed, **constants)
        self._chooser.set_health(0, False)
        self._slots = [_Slot()]
        self._open: dict[tuple[ReplicaID, str], list[str]] = defaultdict(list)
        self._keys = 0
        self._warned = False

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """First the chosen one, then all others."""
        if pending_request is None:
            return [candidate_replicas]
        self._observe(candidate_replicas)
        query = self._query_of(pending_request)
        self._chooser.finished(query.key)  # of an earlier attempt
        try:
            slot = self._chooser.choose(query)
        except NoReplica:
            return [candidate_replicas]
        chosen = self._slots[slot].replica
        first = [replica for replica in candidate_replicas if replica.replica_id == chosen]
        others = [replica for replica in candidate_replicas if replica.replica_id != chosen]
        self._chooser.sent(slot, query)
        return [first, others]

    def on_request_routed(
        self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any
    ) -> None:
        """A replica has accepted it, perhaps another one than was chosen."""
        query = self._query_of(pending_request)
        slot = self._slot_of(replica_id)
        if slot is not None:
            self._chooser.sent(slot, query)
        self._open[replica_id, pending_request.metadata.internal_request_id].append(query.key)

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """Answered, failed, or not accepted; the last is in no book of ours."""
        keys = self._open.get((replica_id, internal_request_id))
        if keys:
            self._chooser.finished(keys.pop())
        if not keys:
            self._open.pop((replica_id, internal_request_id), None)

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

    def _occupy(self, replica_id: ReplicaID) -> None:
        free = next((n for n, slot in enumerate(self._slots) if slot.replica is None), None)
        if free is None:
            free = len(self._slots)
            self._slots.append(_Slot())
            self._chooser.resize(len(self._slots))
        self._slots[free] = _Slot(replica_id, LoadReader())
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
        """Take reports that are new; a bad one is logged once and leaves the last one in force."""
        for replica in replicas:
            number, stats = self._slot_of(replica.replica_id), replica.routing_stats
            if number is None or not stats or stats == self._slots[number].stats:
                continue
            slot = self._slots[number]
            slot.stats = stats
            assert slot.reader is not None
            try:
                load = slot.reader.read(stats.get("loads") or [stats])
            except (ValueError, TypeError, AttributeError) as error:
                if not self._warned:
                    logger.warning("record_routing_stats of a replica: %s", error)
                self._warned = True
                continue
            self._chooser.observe(number, load)

    def _query_of(self, request: PendingRequest) -> Query:
        """The same for all attempts of a request."""
        known = getattr(request, "sagesched_query", None)
        if known is None:
            self._keys += 1
            known = _asked(request).query(str(self._keys))
            request.sagesched_query = known
            request.future.add_done_callback(lambda future: self._settled(future, known.key))
        return known  # type: ignore[no-any-return]

    def _settled(self, future: Any, key: str) -> None:
        """The caller gave it up before a replica was found."""
        if future.cancelled():
            self._chooser.finished(key)


def _asked(request: PendingRequest) -> Asked:
    """The first argument with a prompt."""
    asked = read_body(None)
    for argument in (*request.args, *request.kwargs.values()):
        asked = read_body(argument)
        if asked.prompt_tokens:
            break
    return asked
