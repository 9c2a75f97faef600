"""Which running requests give way to waiting ones, and how.

A victim's KV is published to the radix tree, where it may be evicted but usually is still there
when the request resumes; then a resume costs one prompt token. So parking is used only where such a
prefill shares its step with decoding (``--enable-mixed-chunk``) and a radix cache keeps KV; where
predictions say nothing, keys differ little and nobody is parked.

Who gives way is decided by the keys of the order (``order.py``), at ages of now, with a margin, and
only among small requests: what has produced a lot has little left to wait for, and would be what
makes the tail long. Every rank decides alike.

Nobody stays parked for longer than ``Limits.most_seconds``: somewhat earlier a request goes before
everything that waits, the one parked first before the others, and is not parked again. It resumes
in the next pass that has room for it. To make room whoever may give way does so, whatever its key,
and at the last moment however large it is; where nobody may, it is a matter of when the next
running request ends.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sagesched.plugin.anchor import Keys
from sagesched.plugin.order import QueueOrder
from sagesched.plugin.place import Place, place_of

REFRESH_STEPS = 16
"""Running requests are ranked anew after as many passes; their ages change slowly."""
VICTIM_SHARE = 0.6
"""Most KV tokens of a victim at a dial of 1, as a share of a slot's part of the pool."""
MOST_VICTIMS = 8
"""In a pass."""
HURRY_S, LAST_MOMENT_S = 0.8, 0.5
"""So long before the bound a parked request goes first, and whoever runs gives way to it."""
MOST_LEAD = 0.2
"""Of the bound: neither is earlier."""
FEWEST_WAITING = 4
"""At a dial up to 1 nobody gives way to fewer: it costs a stream more than they would wait."""


@dataclass(frozen=True)
class Limits:
    """What parking may do.

    Attributes:
        most_kv_tokens: KV tokens of a victim, at most.
        most_parks: how often a request may be parked; 0 parks nobody, and who was retracted still
            goes before all others in time.
        margin: units of ``ln(index)`` by which a waiting request must be better.
        fewest_waiting: nobody is parked for fewer.
        most_seconds: nobody is parked for longer, where that can be had; see ``SharedClock``.
    """

    most_kv_tokens: int
    most_parks: int = 2
    margin: float = 0.5
    fewest_waiting: int = 1
    most_seconds: float = math.inf

    def before_the_bound(self, lead_s: float) -> float:
        """Seconds parked at which that much time is left."""
        return self.most_seconds - min(lead_s, MOST_LEAD * self.most_seconds)

    @classmethod
    def of_dial(cls, dial: float, slot_tokens: float, most_seconds: float = math.inf) -> Limits:
        """The further the dial, the larger and the more often parked a victim may be.

        Args:
            dial: as of ``Anchor``.
            slot_tokens: a slot's part of the KV pool.
            most_seconds: as above.
        """
        reach = min(max(dial, 1.0), 4.0)
        most_kv_tokens = int(VICTIM_SHARE * reach**2 * slot_tokens)
        return cls(
            most_kv_tokens,
            most_parks=round(2 * reach),
            fewest_waiting=FEWEST_WAITING if dial <= 1.0 else 1,
            most_seconds=most_seconds,
        )


class Parking:
    """One scheduler's parked requests."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.parked = 0
        self._worst: list[tuple[float, Any]] = []
        self._ranked_in = -REFRESH_STEPS
        self._keys: Keys | None = None  # that they were ranked by
        self._away: OrderedDict[int, Any] = OrderedDict()  # by id of place, longest parked first
        self._hurried: dict[int, Any] = {}  # of those that wait, by id of place
        self._late = 0  # of those, at the last moment
        self._pass = 0

    def victims(self, running: Sequence[Any], order: QueueOrder) -> list[Any]:
        """Who gives way now, worst first; O(1) in most passes.

        The worst running request is compared with the best waiting one, the second worst with the
        second best, and so on, until a waiting one is not better by the margin.
        """
        self._pass += 1
        if not self.limits.most_parks:
            return []
        if self._pass - self._ranked_in >= REFRESH_STEPS or self._keys != order.keys:
            self._ranked_in, self._keys = self._pass, order.keys
            self._worst = order.worst_first([r for r in running if self._may_give_way(r)])
        if not self._worst or not len(order):
            return []
        weight = order.keys.weight
        margin = self.limits.margin * (1.0 if math.isinf(weight) else weight)
        if not order.best_keys(1)[0] + margin < self._worst[0][0]:
            return []
        here = {id(request) for request in running}
        worst = [(key, r) for key, r in self._worst if id(r) in here and self._may_give_way(r)]
        chosen = self._chosen(worst, order, margin)
        gone = {id(request) for request in chosen}
        self._worst = [(key, r) for key, r in worst if id(r) not in gone]
        return chosen

    def _chosen(
        self, worst: Sequence[tuple[float, Any]], order: QueueOrder, margin: float
    ) -> list[Any]:
        """Of those that may give way; the best waiting ones are those in a hurry."""
        enough = len(order) >= self.limits.fewest_waiting
        best = order.best_keys(MOST_VICTIMS if enough else min(len(self._hurried), MOST_VICTIMS))
        chosen: list[Any] = []
        for key, request in worst:
            if len(chosen) == len(best) or not best[len(chosen)] + margin < key:
                break
            if len(chosen) < self._late or self._is_small(request):
                chosen.append(request)
        return chosen

    def rest(self) -> None:
        """Nobody waits, so nobody need give way: hold on to no request."""
        self._worst = []
        self._ranked_in = -REFRESH_STEPS

    def park(self, request: Any, now_s: float) -> None:
        """Note that a request was parked; ``now_s`` on a ``SharedClock``."""
        place: Place = request._sagesched_place
        place.parks += 1
        self.parked += 1
        self._goes_away(request, now_s)

    def retracted(self, request: Any, now_s: float) -> None:
        """SGLang took its memory and it waits again: its client does not for longer than others."""
        if request.output_ids:
            self._goes_away(request, now_s)

    def recall(self, queue: Sequence[Any]) -> None:
        """Parking was off meanwhile: who was parked before still waits."""
        places = ((place_of(request), request) for request in queue)
        parked = [(p.parked_at, p.sequence, r) for p, r in places if p and p.parked_at >= 0]
        for since_s, _, request in sorted(parked, key=lambda one: one[:2]):
            self._goes_away(request, since_s)

    def _goes_away(self, request: Any, now_s: float) -> None:
        place: Place = request._sagesched_place
        place.parked_at = now_s
        self._away.pop(id(place), None)
        self._away[id(place)] = request

    def hurry(self, order: QueueOrder, now_s: float) -> None:
        """Who has been parked for too long goes first; looks at the one parked longest."""
        hurry_s = self.limits.before_the_bound(HURRY_S)
        while self._away:
            request = next(iter(self._away.values()))
            place: Place = request._sagesched_place
            if place.handle >= 0 and now_s - place.parked_at < hurry_s:
                break
            self._away.popitem(last=False)
            if place.handle >= 0:
                order.hurry(request)
                self._hurried[id(place)] = request
                self._ranked_in = -REFRESH_STEPS  # somebody is to give way now
        if self._hurried:
            self._look_at_the_hurried(order, now_s)

    def _look_at_the_hurried(self, order: QueueOrder, now_s: float) -> None:
        """Who still waits of them, and for how many it is the last moment."""
        self._hurried = {id_: r for id_, r in self._hurried.items() if order.holds(r)}
        last_moment_s = self.limits.before_the_bound(LAST_MOMENT_S)
        since = [request._sagesched_place.parked_at for request in self._hurried.values()]
        late = sum(now_s - parked_at >= last_moment_s for parked_at in since)
        if late != self._late:
            self._late, self._ranked_in = late, -REFRESH_STEPS

    def _may_give_way(self, request: Any) -> bool:
        place = place_of(request)
        return (
            place is not None
            and not place.opted_out
            and not place.overdue
            and place.parks < self.limits.most_parks
            and (self._late > 0 or self._is_small(request))
            and not request.finished()
            and request.to_finish is None
            and getattr(request, "session", None) is None
            and request.beam_group is None
            and not request.return_logprob
            and not request.skip_radix_cache_insert
        )

    def _is_small(self, request: Any) -> bool:
        held = len(request.origin_input_ids) + len(request.output_ids)
        return held <= self.limits.most_kv_tokens
