"""One scheduler's waiting queue in index order. Knows no SGLang, so that it can be read alone.

A request's place is decided by ``arrival + dial * S * ln(index)``, lowest first (DESIGN of the
order: ``docs/architecture.md``, step 6):

- ``index`` is its Gittins index: small for work that is likely to end soon and holds little.
- ``arrival`` is the engine step at which it came: with a finite dial nobody is overtaken
  for ever.
- ``S`` is the mean number of decode steps a request is predicted to need: it makes the dial a
  number of mean services, whatever the traffic.

Every rank of a tensor-parallel group orders by itself and must agree: everything here is a
function of the requests and the engine's step count, in arrival order. No clock, no randomness.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from sagesched.cost import CostModel
from sagesched.gittins import RankEngine, move_to_front
from sagesched.lengths import LengthDistribution, LengthGrid

MAX_PLACES = 128  # ordered per pass; work per pass must not grow with the engine's slots
PREFIX_LOOKUPS_PER_PASS = 8
PREFIX_VALID_PASSES = 32


class WaitingRequest(Protocol):
    """What the order reads of a request: nothing else, above all not its custom parameters."""

    origin_input_ids: Sequence[int]
    output_ids: Sequence[int]


class _Place:
    """A request's place in the queue; kept across retractions."""

    __slots__ = ("arrival", "cost", "distribution", "handle", "matched_in_pass", "sequence")

    def __init__(
        self, arrival: int, sequence: int, distribution: LengthDistribution, cost: CostModel
    ) -> None:
        self.arrival = arrival
        self.sequence = sequence
        self.distribution = distribution
        self.cost = cost
        self.handle = -1
        self.matched_in_pass = -PREFIX_VALID_PASSES


def place_of(request: Any) -> _Place | None:
    """The place ``QueueOrder.enter`` gave a request, or None."""
    return getattr(request, "_sagesched_place", None)


class QueueOrder:
    """Holds exactly the waiting requests of one scheduler and brings the best to the front.

    Args:
        prior: what is believed of output lengths before anything was predicted; its grid is the
            grid of every prediction.
        cost: what a request costs.
        dial: 0 is first come first served, ``inf`` the pure Gittins order.
    """

    def __init__(self, prior: LengthDistribution, cost: CostModel, dial: float) -> None:
        self.grid: LengthGrid = prior.grid
        self.cost = cost
        self.dial = dial
        self._engine = RankEngine(self.grid.edges, cost, index_weight=0.0)
        self._requests: dict[int, Any] = {}  # handle -> request
        self._front: list[Any] = []  # best first, as of the last pass
        self._prior_pmf = prior.pmf.astype(np.float64)
        self._mean_length = _mean(prior)
        self._weight = math.nan
        self._sequence = 0
        self._pass = 0
        self._reweigh()

    def __len__(self) -> int:
        return len(self._engine)

    def enter(
        self,
        request: Any,
        step: int,
        predicted: LengthDistribution | None,
        limit: int | None = None,
    ) -> None:
        """Take a request that was just put in the queue; O(m).

        Args:
            request: a ``WaitingRequest``; a place is noted on it.
            step: the engine's step count now, the same on every rank.
            predicted: its output-length distribution, None to use the prior: the running mean
                of the distributions seen. Ignored for a retracted request, which has one.
            limit: most tokens a request without a prediction may generate.
        """
        place = place_of(request)
        if place is None:
            distribution = self._learn(predicted)
            if predicted is None and limit is not None:
                distribution = distribution.capped(max(1, limit))
            place = _Place(step, self._sequence, distribution, self.cost)
            self._sequence += 1
            request._sagesched_place = place
        self._leave([request])  # preempted and requeued before anyone noticed that it had left
        place.matched_in_pass = -PREFIX_VALID_PASSES
        place.handle = self._engine.add(
            place.distribution.pmf,
            len(request.origin_input_ids),
            float(place.arrival),
            age=len(request.output_ids),
        )
        self._requests[place.handle] = request

    def settle(self, queue: list[Any]) -> None:
        """Drop whoever left the queue since the last call; O(1) when nobody did.

        Requests leave from the front (admitted), or from anywhere (aborted, timed out), which
        is rare and costs one scan.
        """
        if len(self._engine) == len(queue):
            return
        stayed = 0  # of the front, which keeps its order at the head of the queue
        gone = []
        for request in self._front:
            if stayed < len(queue) and request is queue[stayed]:
                stayed += 1
            else:
                gone.append(request)
        self._leave(gone)
        self._front = queue[:stayed]
        if len(self._engine) != len(queue):
            self._rescan(queue)

    def rank(self, queue: list[Any], places: int, cached_prefix: Callable[[Any], int]) -> None:
        """Bring the ``places`` best requests to the front of ``queue``, best first, in place.

        Args:
            queue: the scheduler's waiting queue.
            places: how many requests could be admitted in this pass; of more than
                ``MAX_PLACES`` the rest stay as they are, for the next pass.
            cached_prefix: looks up a request's radix-cache hit of now, tokens; asked for a
                bounded number of the best only.
        """
        self._pass += 1
        self.settle(queue)
        places = min(places, MAX_PLACES)
        self._front = self._best(places)
        if self._look_up_prefixes(self._front, cached_prefix):
            self._front = self._best(places)
        if move_to_front(queue, self._front) != len(self._front):
            self._rescan(queue)
            self._front = self._best(places)
            move_to_front(queue, self._front)

    def _best(self, places: int) -> list[Any]:
        return [self._requests[handle] for handle in self._engine.top(places).tolist()]

    def _look_up_prefixes(self, best: list[Any], cached_prefix: Callable[[Any], int]) -> bool:
        stale = [
            request
            for request in best
            if self._pass - request._sagesched_place.matched_in_pass >= PREFIX_VALID_PASSES
        ][:PREFIX_LOOKUPS_PER_PASS]
        if not stale:
            return False
        for request in stale:
            request._sagesched_place.matched_in_pass = self._pass
        # After a retraction what was produced is prefilled again: it comes off the hit.
        self._engine.set_cached_prefix(
            [request._sagesched_place.handle for request in stale],
            [max(0, cached_prefix(request) - len(request.output_ids)) for request in stale],
        )
        return True

    def _leave(self, requests: list[Any]) -> None:
        """Forget those of the requests that are here; no request may be named twice."""
        gone = []
        for request in requests:
            place = place_of(request)
            if place is not None and self._requests.get(place.handle) is request:
                gone.append(place.handle)
        self._engine.remove(gone)
        for handle in gone:
            self._requests.pop(handle)._sagesched_place.handle = -1

    def _rescan(self, queue: list[Any]) -> None:
        """Make the engine hold exactly the queue: drop who left, take who came unannounced."""
        waiting = {id(request) for request in queue}
        self._leave([r for r in self._requests.values() if id(r) not in waiting])
        places = [place for place in map(place_of, queue) if place is not None]
        latest = max((place.arrival for place in places), default=0)
        for request in queue:
            place = place_of(request)
            if place is None or self._requests.get(place.handle) is not request:
                self.enter(request, latest, None)

    def _learn(self, predicted: LengthDistribution | None) -> LengthDistribution:
        """Follow the mean of what is predicted: the prior, and the dial's unit."""
        if predicted is None:
            return LengthDistribution(self.grid, self._prior_pmf)
        follow = 1.0 / min(self._sequence + 2, 1024)
        self._prior_pmf += follow * (predicted.pmf - self._prior_pmf)
        self._mean_length += follow * (_mean(predicted) - self._mean_length)
        self._reweigh()
        return predicted

    def _reweigh(self) -> None:
        """Follow S in steps of a quarter octave, so that the order is rarely rebuilt.

        Of a long queue each pass rebuilds a slice. Ranks stay together: what a pass rebuilds
        depends on the calls made so far, which are the same on every rank.
        """
        unit = 2.0 ** (round(4.0 * math.log2(max(self._mean_length, 1.0))) / 4.0)
        weight = self.dial * unit
        if weight != self._weight:
            self._weight = weight
            self._engine.set_index_weight(weight)


def stock_order(queue: list[Any]) -> None:
    """Put a queue back in arrival order, in place, without any order's help."""
    queue.sort(key=_arrival_order)


def _mean(distribution: LengthDistribution) -> float:
    """Mean length by an exact sum: ranks on different processors must get the same bits."""
    return math.fsum((distribution.pmf * distribution.grid.edges).tolist())


def _arrival_order(request: Any) -> tuple[float, int]:
    place = place_of(request)
    return (math.inf, 0) if place is None else (place.arrival, place.sequence)
