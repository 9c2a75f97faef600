"""While our order only looks on: how long requests would wait under it, and under arrival order.

Two small models of the engine are fed the same requests: a queue, as many slots as the engine runs
requests at once, and output lengths drawn from the predictions (the same in both, without
randomness). One takes the queue in arrival order, the other as ``QueueOrder`` does. What the model
gets wrong (memory, prefill, a prediction that is off) is wrong in both, so their ratio says more
than either.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sagesched.lengths import LengthDistribution
from sagesched.plugin.order import MAX_PLACES, QueueOrder
from sagesched.plugin.place import Place

GOLDEN = 0.6180339887498949
"""Multiples of it, modulo 1, fill the unit interval evenly."""
MOST_WAITING = 100_000
"""In a model; beyond that it is given up and begun anew."""


@dataclass(eq=False)
class Copy:
    """As much of a request as an order reads, and how long its output is in the models."""

    origin_input_ids: Sequence[int]
    arrival: int
    tokens: int
    output_ids: Sequence[int] = ()


class Model:
    """One engine, in steps.

    Args:
        order: None for arrival order.
    """

    def __init__(self, order: QueueOrder | None = None) -> None:
        self.queue: list[Any] = []
        self.waited = 0
        self.slowdown = 0.0
        self.served = 0
        self._order = order
        self._ends: list[int] = []  # a heap

    def arrive(self, request: Copy, predicted: LengthDistribution) -> None:
        """A request comes."""
        self.queue.append(request)
        if self._order is not None:
            self._order.enter(request, request.arrival, predicted)

    def go_on(self, step: int, slots: int) -> None:
        """Who has ended leaves, who has a slot begins."""
        while self._ends and self._ends[0] <= step:
            heapq.heappop(self._ends)
        free = min(slots - len(self._ends), len(self.queue), MAX_PLACES)
        if free <= 0:
            return
        if self._order is not None:
            self._order.rank(self.queue, free, lambda request: 0, len(self._ends))
        for request in self.queue[:free]:
            heapq.heappush(self._ends, step + request.tokens)
            self._begin(request, step)
        del self.queue[:free]
        if self._order is not None:
            self._order.settle(self.queue)

    def rest(self, step: int) -> None:
        """The engine is idle: whatever the model still holds is over."""
        for request in self.queue:
            self._begin(request, step)
        self.queue.clear()
        self._ends.clear()
        if self._order is not None:
            self._order.settle(self.queue)

    def _begin(self, request: Copy, step: int) -> None:
        self.served += 1
        self.waited += step - request.arrival
        self.slowdown += (step - request.arrival) / max(1, request.tokens)


class WhatIf:
    """Both models.

    Args:
        order: an empty order that nobody else uses.
        slots: requests the engine runs at once, at most.
    """

    def __init__(self, order: QueueOrder, slots: int) -> None:
        self.models = {"fcfs": Model(), "gittins": Model(order)}
        self._slots = slots
        self._came = 0
        self._taken: dict[tuple[str, str], float] = {}

    def arrive(self, prompt: int, place: Place, step: int) -> None:
        """A request of as many tokens has entered the real queue for the first time."""
        self._came += 1
        draw = (0.5 + self._came * GOLDEN) % 1.0
        tokens = int(place.distribution.quantile(draw))
        for model in self.models.values():  # each notes a place of its own on it
            model.arrive(Copy(range(prompt), step, tokens), place.distribution)

    def go_on(self, step: int, running: int, waiting: int) -> None:
        """A step of the engine, after admission, with as many running and still waiting."""
        if not running and not waiting:
            for model in self.models.values():
                model.rest(step)
            return
        slots = running if waiting and running else self._slots  # memory may be the scarcer
        for model in self.models.values():
            model.go_on(step, slots)
        if any(len(model.queue) > MOST_WAITING for model in self.models.values()):
            raise OverflowError("the models' queues grew without end")

    def take_counts(self) -> dict[tuple[str, str], float]:
        """What has been added since the last call."""
        now: dict[tuple[str, str], float] = {}
        for name, model in self.models.items():
            now["shadow_requests", name] = model.served
            now["shadow_wait_steps", name] = model.waited
            now["shadow_slowdown", name] = model.slowdown
        new = {key: value - self._taken.get(key, 0.0) for key, value in now.items()}
        self._taken = now
        return new
