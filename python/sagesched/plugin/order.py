"""One scheduler's waiting queue in index order. Knows no SGLang, so that it can be read alone.

A request's place is decided by ``arrival + weight * clamp(ln(index))``, lowest first
(``anchor.py``):

- ``index`` is its Gittins index: small for work that is likely to end soon and holds little. Who
  may be one of the longest has some of it taken off (``tail.py``).
- ``arrival`` is the engine step at which it came: with a finite dial nobody is overtaken
  for ever.

Every rank of a tensor-parallel group orders by itself and must agree: everything here is a
function of the requests and the engine's step count, in arrival order. No clock, no randomness.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sagesched.cost import CostModel
from sagesched.gittins import RankEngine, move_to_front
from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.plugin import hits
from sagesched.plugin.anchor import Anchor, KeyMaker, Keys
from sagesched.plugin.opted_out import OptedOut
from sagesched.plugin.place import NEVER, Place, arrival_order, mean_of, place_of
from sagesched.plugin.running import RunningOrder
from sagesched.plugin.tail import lead_of, tail_share

MAX_PLACES = 128  # ordered per pass; work per pass must not grow with the engine's slots
LAST = 2**62
"""Priorities beyond are one class."""
AT_ONCE = 1e15
"""Steps; more than any key can be."""
LATEST_S = 1e9
"""Seconds; no clock shows more."""
NO_KEYS = Keys(math.nan, math.nan, math.nan)
"""Before the first; equal to none."""


class QueueOrder:
    """Holds exactly the waiting requests of one scheduler and brings the best to the front.

    Args:
        prior: what is believed of output lengths before anything was predicted; its grid is the
            grid of every prediction.
        cost: what a request costs.
        dial: 0 is first come first served, ``inf`` the pure Gittins order.
        slots: requests the engine runs at once.
        priority_sign: with priority scheduling 1 where small values go first and -1 where large
            ones do; 0 without. Classes come first, the index decides inside a class.
        anchor: what keys are made with; None makes an ``Anchor`` of dial, slots and prior.
    """

    predicts = True
    """Whether a request's predicted length has a say."""

    def __init__(
        self,
        prior: LengthDistribution,
        cost: CostModel,
        dial: float,
        slots: int = 64,
        priority_sign: int = 0,
        anchor: KeyMaker | None = None,
    ) -> None:
        self.grid: LengthGrid = prior.grid
        self.cost = cost
        self._engine = RankEngine(self.grid.edges, cost, index_weight=0.0)
        self._running = RunningOrder(self.grid, cost)
        self._requests: dict[int, Any] = {}  # handle -> request
        self._front: list[Any] = []  # best first, as of the last pass
        self._changed = True  # since the front was chosen, in a way that may change it
        self._chosen_in = 0  # the pass in which it was
        self._prior_pmf = prior.pmf.astype(np.float64)
        self._prior: LengthDistribution | None = None  # made of it, while it is the same
        self._learned = 0
        self._anchor: KeyMaker = anchor or Anchor(dial, slots, mean_of(prior))
        self._opted_out = OptedOut(self._engine)
        self._backlog = 0  # tokens that the waiting requests are predicted to need
        self._priority_sign = priority_sign
        self._sequence = 0
        self._pass = 0
        self.keys = NO_KEYS
        self._follow()

    def __len__(self) -> int:
        return len(self._engine)

    def enter(
        self,
        request: Any,
        step: int,
        predicted: LengthDistribution | None,
        limit: int | None = None,
        opted_out: bool = False,
        follows: bool = False,
    ) -> None:
        """Take a request that was just put in the queue; O(m).

        Args:
            request: a ``WaitingRequest``; a place is noted on it.
            step: the engine's step count now, the same on every rank.
            predicted: its output-length distribution, None to use the prior: the running mean
                of the distributions seen. Ignored for a retracted request, which has one.
            limit: most tokens a request without a prediction may generate.
            opted_out: rank it as if its index were the mean of the traffic, and never park it.
            follows: `foretell` will say what is predicted.
        """
        place = place_of(request)
        if place is None:
            place = self.expect(request, step, predicted, limit, opted_out)
            place.awaits = follows
        if place.handle >= 0:  # preempted and requeued before anyone noticed that it had left
            self._take_out(request)
        if self._priority_sign:
            place.priority = self._class_of(request)
        place.matched_in_pass = NEVER
        elsewhere = place.parked_at >= 0 or place.prefilled
        place.hit = self._size(request)[1] if elsewhere else 0
        self._add(request, place)

    def _add(self, request: Any, place: Place) -> None:
        """To those that wait."""
        age, prompt = self._size(request)
        first_seen = place.seen_by is not self._anchor
        if first_seen and not place.awaits:  # else it has the mean of all, which leads nobody
            share = self._give_lead(place)
        place.handle = self._engine.add(
            place.distribution.pmf,
            prompt,
            place.since,
            age=age,
            cached_len=place.hit,
            priority=place.priority,
            lead=place.lead,
        )
        place.backlog = self._to_come(place, age, prompt)
        self._backlog += place.backlog
        self._requests[place.handle] = request
        if first_seen and not place.awaits:
            self._tell_anchor(place, prompt, place.handle, share)
        if place.opted_out:
            self._opted_out.enter(place.handle, request, self.keys, self._anchor.centre)
        if place.overdue and place.parked_at >= 0:  # another order had it in a hurry
            self.hurry(request)
        self._changed = self._changed or self._is_before_front_ends(place)

    def expect(
        self,
        request: Any,
        step: int,
        predicted: LengthDistribution | None,
        limit: int | None = None,
        opted_out: bool = False,
    ) -> Place:
        """Note a place on a request that will `enter` later; arguments as there."""
        distribution = self._learn(predicted)
        if predicted is None and limit is not None:
            distribution = distribution.capped(max(1, limit))
        place = Place(step, self._sequence, distribution, self.cost)
        place.since = self._now(step)
        place.opted_out = opted_out
        self._sequence += 1
        request._sagesched_place = place
        return place

    def foretell(self, place: Place, prompt: int, predicted: LengthDistribution | None) -> None:
        """What is predicted of a request that has entered, wherever it is now; O(m).

        Args:
            place: noted on it by `enter`, which said that this follows.
            prompt: its tokens.
            predicted: its output-length distribution, None where there is none after all.
        """
        place.awaits = False
        if predicted is not None:
            place.take(self._learn(predicted))
        request = self._requests.get(place.handle)
        if request is not None and request._sagesched_place is place:
            parked_at = place.parked_at
            self._take_out(request)
            place.parked_at = parked_at
            self._add(request, place)
        elif place.seen_by is not self._anchor:
            share = self._give_lead(place)
            handle = self._engine.add(place.distribution.pmf, prompt, place.since)
            self._tell_anchor(place, prompt, handle, share)
            self._engine.remove([handle])

    def _take_out(self, request: Any) -> None:
        """Of those that wait, wherever it is."""
        self._leave([request])
        for i, one in enumerate(self._front):
            if one is request:  # `settle` needs a front without a hole
                self._front, self._changed = self._front[:i], True
                break

    def _give_lead(self, place: Place) -> float:
        """Returns its tail share, see ``tail.py``."""
        share = tail_share(place.distribution.pmf, self._prior_pmf)
        place.lead = 0.0 if place.opted_out else lead_of(share)
        return share

    def _tell_anchor(self, place: Place, prompt: int, handle: int, share: float) -> None:
        place.seen_by = self._anchor
        self._anchor.saw(self._service(place, prompt), self._engine.log_index(handle), share)

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

    def rank(
        self,
        queue: list[Any],
        places: int,
        cached_prefix: Callable[[Any], int],
        running: int | None = None,
        spare: int = 0,
    ) -> None:
        """Bring the ``places`` best requests to the front of ``queue``, best first, in place.

        Args:
            queue: the scheduler's waiting queue.
            places: how many requests could be admitted in this pass, and some more, so that not
                every pass need choose anew; of more than ``MAX_PLACES`` the rest stay as they are,
                for the next pass.
            cached_prefix: looks up a request's radix-cache hit of now, tokens; asked for a
                bounded number of the best only.
            running: requests that run now, if that is known.
            spare: of the places, those that need not be in order.
        """
        self._pass += 1
        self.settle(queue)
        if running is not None:
            self._anchor.runs(running)
        self._follow()
        needed, places = min(places - spare, MAX_PLACES), min(places, MAX_PLACES)
        stands = self._still_stands(queue, needed)
        if stands and not self._look_up_prefixes(self._front, cached_prefix):
            return
        self._front = self._best(places)
        if not stands and self._look_up_prefixes(self._front, cached_prefix):
            self._front = self._best(places)
        if move_to_front(queue, self._front) != len(self._front):
            self._rescan(queue)
            self._front = self._best(places)
            move_to_front(queue, self._front)
        self._changed, self._chosen_in = False, self._pass

    def _still_stands(self, queue: list[Any], needed: int) -> bool:
        """Whether what is left of the front still is the best of the queue, and is enough."""
        return (
            not self._changed
            and len(self._front) >= min(needed, len(queue))
            and self._pass - self._chosen_in < hits.VALID_PASSES
            and not self._engine.pending
            and queue[: len(self._front)] == self._front
        )

    def _is_before_front_ends(self, place: Place) -> bool:
        if not self._front:
            return True
        last: Place = self._front[-1]._sagesched_place
        return last.handle < 0 or self._engine.compare(place.handle, last.handle) < 0

    def look(self, queue: list[Any], cached_prefix: Callable[[Any], int]) -> Any | None:
        """As `rank`, but the queue stays as it is; returns who would have come first."""
        self._pass += 1
        self.settle(queue)
        self._follow()
        self._front, self._changed = queue[:MAX_PLACES], True
        best = self._best(hits.LOOK_UPS_PER_PASS)
        if self._look_up_prefixes(best, cached_prefix):
            best = self._best(1)
        return best[0] if best else None

    def rest(self, queue: list[Any]) -> None:
        """Put a queue that was ranked so far back in arrival order; from now on `look` at it."""
        stock_order(queue)
        self._front, self._changed = [], True

    def set_dial(self, dial: float) -> None:
        """How far the index moves a request, from the next pass on; keys follow in slices."""
        self._anchor.set_dial(dial)

    @property
    def backlog(self) -> int:
        """Output tokens that the waiting requests are predicted to need."""
        return self._backlog

    @property
    def front(self) -> Sequence[Any]:
        """Who is at the front of the queue, best first, as of the last pass."""
        return self._front

    def best_keys(self, count: int) -> list[float]:
        """Keys of the ``count`` best that wait, best first."""
        self._changed = self._changed or self._engine.pending > 0  # to ask goes on with a slice
        return [self._engine.key(handle) for handle in self._engine.top(count).tolist()]

    def worst_first(self, running: Sequence[Any]) -> list[tuple[float, Any]]:
        """Running requests and their keys, as if they waited; see `RunningOrder`."""
        return self._running.worst_first(running, self.keys)

    def holds(self, request: Any) -> bool:
        """Whether it waits here."""
        return self._requests.get(request._sagesched_place.handle) is request

    def hurry(self, request: Any) -> None:
        """Put a parked request before all others, but for those parked before it that are, too."""
        place: Place = request._sagesched_place
        place.overdue = True
        if self.holds(request):
            boost = AT_ONCE * (min(place.parked_at, LATEST_S) - 2 * LATEST_S)
            self._engine.set_boost([place.handle], [boost])
            self._changed = True

    def _now(self, step: int) -> float:
        """The clock that keys count by: the engine's steps."""
        return float(step)

    def _size(self, request: Any) -> tuple[int, int]:
        """Age and prompt, tokens, that it is ranked with."""
        return len(request.output_ids), len(request.origin_input_ids)

    def _service(self, place: Place, prompt: int) -> float:
        """What a request is to take of the engine, in the unit of `_to_come`."""
        return place.mean

    def _to_come(self, place: Place, age: int, prompt: int) -> int:
        """What a request adds to the backlog, tokens."""
        return max(1, round(place.mean) - age)

    def _class_of(self, request: Any) -> int:
        """Its priority, smaller first; SGLang gives those without one the last of all."""
        value = request.priority if request.priority is not None else LAST * self._priority_sign
        return min(max(self._priority_sign * int(value), -LAST), LAST)

    def _best(self, places: int) -> list[Any]:
        return [self._requests[handle] for handle in self._engine.top(places).tolist()]

    def _look_up_prefixes(self, best: list[Any], cached_prefix: Callable[[Any], int]) -> bool:
        """Bring a few of the hits up to date; returns whether one was another."""
        stale = hits.due(best, self._pass)
        return bool(stale) and self._match(stale, cached_prefix)

    def _match(self, requests: list[Any], cached_prefix: Callable[[Any], int]) -> bool:
        """Rank by the radix-cache hits of now; returns whether one was another."""
        changed = hits.look_up(self._engine, requests, cached_prefix, self._size)
        self._changed = self._changed or changed
        return changed

    def _leave(self, requests: list[Any]) -> None:
        """Forget those of the requests that are here; no request may be named twice."""
        gone = []
        for request in requests:
            place = place_of(request)
            if place is not None and self._requests.get(place.handle) is request:
                gone.append(place.handle)
        self._engine.remove(gone)
        for handle in gone:
            self._opted_out.leave(handle)
            place = self._requests.pop(handle)._sagesched_place
            place.handle, place.parked_at = -1, -1.0
            self._backlog -= place.backlog

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
        """Follow the mean of what is predicted: the prior of a request without a prediction."""
        if predicted is None:
            if self._prior is None:
                self._prior = LengthDistribution.of_distributions(self.grid, self._prior_pmf)
            return self._prior
        self._learned += 1
        self._prior = None
        self._prior_pmf += (predicted.pmf - self._prior_pmf) / min(self._learned + 1, 1024)
        return predicted

    def _follow(self) -> Keys:
        """Make keys as the traffic of now demands.

        Of a long queue each pass rebuilds a slice. Ranks stay together: what a pass rebuilds
        depends on the calls made so far, which are the same on every rank.
        """
        keys = self._anchor.keys(self._backlog)
        if keys != self.keys:
            self.keys, self._changed = keys, True
            self._engine.set_index_weight(keys.weight)
            self._engine.set_index_band(keys.low, keys.high)
            self._engine.set_lead_scale(keys.spared)
        if self._opted_out.follow(keys, self._anchor.centre):
            self._changed = True
        return keys


def stock_order(queue: list[Any]) -> None:
    """Put a queue back in arrival order, in place, without any order's help."""
    queue.sort(key=arrival_order)
