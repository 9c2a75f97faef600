"""What one scheduler's order does, in numbers, for metrics and for a line in the log.

Work is per arrival, per admission and per step, never per waiting request. Nothing here is read by
a decision.
"""

from __future__ import annotations

import heapq
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

from sagesched.plugin import fallback, metrics
from sagesched.plugin.place import Place, place_of
from sagesched.plugin.timing import spent

LOG_EVERY_S = 60.0
EXPORT_EVERY_S = 0.5
MOST_TENANTS = 32
OTHER_TENANTS = "other"
_SPARE = 64

Counts = Mapping[tuple[str, str], float]
"""By (metric, label)."""

logger = logging.getLogger("sagesched")


class Watch:
    """Counters since the start; ``counts`` by (metric, label).

    Args:
        speaks: whether this rank writes the log line.
    """

    def __init__(self, speaks: bool = True) -> None:
        self.counts: dict[tuple[str, str], float] = defaultdict(float)
        self.oldest_wait = 0
        self._speaks = speaks
        self._waiting: list[tuple[int, int, int, Place]] = []  # a heap by arrival; some have left
        self._entered = 0
        self._tenants: set[str] = set()
        self._step = -1
        self._ranked = False  # since that was exported
        self._exported_at = self._logged_at = perf_counter()
        self._exported_waiting = 0
        self._logged: Counts = {}

    def entered(self, request: Any, known: bool) -> None:
        """A request has been given its place in the queue, or has come back to it."""
        place = place_of(request)
        if place is None:
            return
        if known and place.parked_at < 0:
            self.counts["retracted", "memory"] += 1
        self._entered += 1
        heapq.heappush(self._waiting, (place.arrival, place.sequence, self._entered, place))

    def ranked(self, predicted: bool) -> None:
        """It is known how long its output may be, or that nothing is known of it."""
        self.counts["ranked", "predicted" if predicted else "prior"] += 1
        self._ranked = True

    def oldest(self, waiting: int) -> Place | None:
        """Who of those that wait came first."""
        heap = self._waiting
        while heap and heap[0][3].handle < 0:
            heapq.heappop(heap)
        if len(heap) > 2 * waiting + _SPARE:
            self._waiting = heap = [entry for entry in heap if entry[3].handle >= 0]
            heapq.heapify(heap)
        return heap[0][3] if heap else None

    def passed(self, first: Any, waiting: int, in_force: bool) -> None:
        """The queue was ordered; ``first`` is, or in shadow would be, the first to be admitted."""
        place, oldest = place_of(first), self.oldest(waiting)
        if place is None or oldest is None:
            return
        if place is oldest:
            self.counts["passes", "arrival"] += 1
        else:
            self.counts["passes", "changed" if in_force else "would_change"] += 1

    def admitted(self, requests: Sequence[Any], step: int, waiting: int) -> None:
        """These left the queue to run; call when the order has settled."""
        oldest = self.oldest(waiting)
        for request in requests:
            place = place_of(request)
            if place is None:
                continue
            ahead = oldest is not None and (oldest.arrival, oldest.sequence) < (
                place.arrival,
                place.sequence,
            )
            self.counts["admissions", "ahead" if ahead else "in_turn"] += 1
            if not request.output_ids:  # the first time
                self._waited(place, step - place.arrival)

    def _waited(self, place: Place, steps: int) -> None:
        slowdown = steps / max(1.0, place.mean)
        self.counts["slowdown", "sum"] += slowdown
        self.counts["slowdown", "requests"] += 1
        if place.tenant:
            name = self._tenant(place.tenant)
            self.counts["tenant_slowdown", name] += slowdown
            self.counts["tenant_requests", name] += 1

    def _tenant(self, name: str) -> str:
        if name not in self._tenants:
            if len(self._tenants) >= MOST_TENANTS:
                return OTHER_TENANTS
            self._tenants.add(name)
        return name

    def stepped(self, state: Any, step: int) -> None:
        """Once a turn of the scheduler's loop; exports and logs now and then."""
        if step != self._step:
            self._step = step
            self.counts["hook_steps", "scheduler"] += 1
        now = perf_counter()
        waiting = 0 if state.order is None else len(state.order)
        emptied = not waiting and self._exported_waiting  # said at once: who looks finds no leak
        if emptied or now - self._exported_at >= EXPORT_EVERY_S:
            self._exported_at, self._exported_waiting = now, waiting
            self._export(state, step, waiting)
            self._ranked = False
        elif self._ranked and not waiting:  # an engine without a queue has the time
            metrics.export_ranked(self.counts)
            self._ranked = False
        if now - self._logged_at >= LOG_EVERY_S:
            self._logged_at = now
            self._log(state)

    def _export(self, state: Any, step: int, waiting: int) -> None:
        oldest = self.oldest(waiting)
        self.oldest_wait = 0 if oldest is None else step - oldest.arrival
        self.counts["hook_seconds", "scheduler"] = spent.seconds
        if state.whatif is not None:
            for key, value in state.whatif.take_counts().items():
                self.counts[key] += value
        metrics.export_watch(self.counts, waiting, self.oldest_wait, state.dial, state.in_force)

    def _log(self, state: Any) -> None:
        new = defaultdict(float, since(self._logged, self.counts))
        self._logged = dict(self.counts)
        if self._speaks and any(key[0] == "ranked" for key in new):
            logger.info("sagesched: %s", line(new, state, self.oldest_wait))


def since(before: Counts, now: Counts) -> Counts:
    """What has grown, and by how much."""
    grown = ((key, value - before.get(key, 0.0)) for key, value in now.items())
    return {key: value for key, value in grown if value > 0.0}


def line(new: Counts, state: Any, oldest_wait: int) -> str:
    """The last minute in words."""
    ranked = new["ranked", "predicted"] + new["ranked", "prior"]
    changed = new["passes", "changed"] + new["passes", "would_change"]
    passes = changed + new["passes", "arrival"]
    would = "" if state.in_force else "would have been "
    parked = 0 if state.parking is None else state.parking.parked
    waiting, backlog = (0, 0) if state.order is None else (len(state.order), state.order.backlog)
    parts = [
        f"{state.policy if state.in_force else 'looking on'}, dial {state.dial:g}",
        f"{ranked:.0f} requests ranked ({new['ranked', 'prior']:.0f} without a prediction)",
        f"{changed:.0f} of {passes:.0f} passes {would}out of arrival order",
        f"{new['admissions', 'ahead']:.0f} admitted ahead of an older one",
        f"{new['retracted', 'memory']:.0f} retracted",
        f"{parked} parked and {fallback.count()} fallbacks so far",
        f"{waiting} waiting with some {backlog} tokens to come, the oldest for {oldest_wait} steps",
    ]
    if new["shadow_requests", "gittins"]:
        parts.append(
            f"in the model a request would have waited {_mean(new, 'gittins'):.0f} steps in place "
            f"of {_mean(new, 'fcfs'):.0f}"
        )
    steps = new["hook_steps", "scheduler"]
    if steps:
        parts.append(f"hooks took {1e6 * new['hook_seconds', 'scheduler'] / steps:.0f} us a step")
    return "; ".join(parts)


def _mean(new: Counts, order: str) -> float:
    return new["shadow_wait_steps", order] / max(1, new["shadow_requests", order])
