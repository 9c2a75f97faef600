"""One scheduler's waiting queue in LARRY's order: memory demand, load and age, no prediction.

The rank engine is that of ``order.py``; a request's "output" is one token, so that its Gittins
index is its demand (``demand.py``). Other than there keys count arrivals in prefill tokens that the
engine has processed, what waits is counted in prefill tokens, and the radix-cache hit of each
newcomer is looked up once, since it decides what it demands. A reconstruction of arXiv 2410.17840;
see ``demand.py``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.plugin.anchor import Keys
from sagesched.plugin.demand import Demand
from sagesched.plugin.order import QueueOrder
from sagesched.plugin.place import Place

NEWCOMERS_PER_PASS = 16
"""Whose radix-cache hit is looked up; of a burst the others in the passes after."""
ONE_TOKEN = LengthDistribution(LengthGrid(1), np.ones(1))


class LarryOrder(QueueOrder):
    """Holds exactly the waiting requests of one scheduler and brings the best to the front.

    Args:
        dial: 0 is first come first served, ``inf`` the order of demand alone.
        kv_use: share of the KV pool that cannot be freed now, 0..1.
        processed_tokens: prefill tokens the engine has processed.
        priority_sign: as of ``QueueOrder``.
    """

    predicts = False

    def __init__(
        self,
        dial: float,
        kv_use: Callable[[], float],
        processed_tokens: Callable[[], int],
        priority_sign: int = 0,
    ) -> None:
        self._demand = Demand(dial, kv_use)
        self._processed_tokens = processed_tokens
        self._newcomers: deque[int] = deque()  # handles, some of which have left
        self._costs_settled = True
        super().__init__(
            ONE_TOKEN, self._demand.cost, dial, priority_sign=priority_sign, anchor=self._demand
        )

    def enter(
        self,
        request: Any,
        step: int,
        predicted: LengthDistribution | None,
        limit: int | None = None,
        opted_out: bool = False,
        follows: bool = False,
    ) -> None:
        """As there; a prediction is ignored."""
        super().enter(request, step, None, None, opted_out)
        self._newcomers.append(request._sagesched_place.handle)

    def rank(
        self,
        queue: list[Any],
        places: int,
        cached_prefix: Callable[[Any], int],
        running: int | None = None,
        spare: int = 0,
    ) -> None:
        """As there, with the newcomers' radix-cache hits of now."""
        self.settle(queue)
        self._meet(cached_prefix)
        super().rank(queue, places, cached_prefix, running, spare)

    def look(self, queue: list[Any], cached_prefix: Callable[[Any], int]) -> Any | None:
        """As there, with the newcomers' radix-cache hits of now."""
        self.settle(queue)
        self._meet(cached_prefix)
        return super().look(queue, cached_prefix)

    def _meet(self, cached_prefix: Callable[[Any], int]) -> None:
        met: list[Any] = []
        while self._newcomers and len(met) < NEWCOMERS_PER_PASS:
            request = self._requests.get(self._newcomers.popleft())
            if request is not None:
                met.append(request)
        if met:
            self._match(met, cached_prefix)

    def _match(self, requests: list[Any], cached_prefix: Callable[[Any], int]) -> bool:
        """As there; a hit is less to prefill for those behind it, too."""
        before = [request._sagesched_place.hit for request in requests]
        changed = super()._match(requests, cached_prefix)
        opted_out = []
        for request, hit in zip(requests, before, strict=True):
            place: Place = request._sagesched_place
            place.matched_in_pass = self._pass
            if place.hit != hit:
                self._backlog -= place.backlog
                place.backlog = max(1, self._size(request)[1] - place.hit)
                self._backlog += place.backlog
                if place.opted_out:
                    opted_out.append(place.handle)
        if opted_out:
            self._opted_out.level(self.keys, self._anchor.centre, opted_out)
        return changed

    def _now(self, step: int) -> float:
        """Prefill tokens processed."""
        return float(self._processed_tokens())

    def _size(self, request: Any) -> tuple[int, int]:
        """After a retraction what was produced is part of what is to be prefilled."""
        return 0, len(request.origin_input_ids) + len(request.output_ids)

    def _to_come(self, place: Place, age: int, prompt: int) -> int:
        """Tokens to prefill, as long as no hit is known."""
        return max(1, prompt)

    def _follow(self) -> Keys:
        keys = super()._follow()
        cost = self._demand.cost
        if cost != self.cost:
            self.cost = cost
            self._engine.set_cost(cost)
            self._changed, self._costs_settled = True, False
        elif not self._costs_settled:  # a slice a pass has it since; who opted out is to stay level
            self._costs_settled = not self._engine.pending
            self._opted_out.level(keys, self._anchor.centre)
            self._changed = True
        return keys
