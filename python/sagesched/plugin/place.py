"""What we note on a request: its place in the order, kept for as long as it lives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

from sagesched._core import exact_dot
from sagesched.cost import CostModel
from sagesched.lengths import LengthDistribution

NEVER = -(10**9)


class WaitingRequest(Protocol):
    """What the order reads of a request: nothing else, above all not its custom parameters."""

    origin_input_ids: Sequence[int]
    output_ids: Sequence[int]


class Place:
    """A request's place, kept across parking and retraction.

    Attributes:
        arrival: engine step at which it came.
        awaits: its prediction is to follow; until then it has the mean of those seen.
        since: the same on the clock that its order's keys count by.
        sequence: its number among all that came; decides ties.
        priority: its class, smaller first; 0 without priority scheduling.
        distribution: of its output length.
        cost: what requests cost here.
        mean: mean output length, tokens.
        lead: taken off its ``ln(index)``, since it may be one of the longest (``tail.py``).
        handle: in the rank engine, -1 while it does not wait.
        backlog: tokens it still adds to the queue's backlog.
        hit: prompt tokens in the radix cache, as it is ranked now.
        matched_in_pass: when that was looked up last.
        parks: how often it was parked.
        prefilled: its prompt is computed elsewhere (prefill/decode disaggregation).
        seen_by: the order's anchor that has been told of it.
        shared: prompt tokens that were in the radix cache when it was admitted.
        parked_at: when it was parked, seconds on a ``SharedClock``; -1 while it is not.
        overdue: it has been parked for about as long as it may be: goes first, is not parked again.
        opted_out: ranked by its arrival as an average request, and never parked.
        tenant: whose it is, for metrics.
        holder: the ``SchedulerState`` in whose queue it waits or waited; None without a scheduler.
    """

    __slots__ = (
        "arrival",
        "awaits",
        "backlog",
        "cost",
        "distribution",
        "handle",
        "hit",
        "holder",
        "lead",
        "matched_in_pass",
        "mean",
        "opted_out",
        "overdue",
        "parked_at",
        "parks",
        "passed_at",
        "prefilled",
        "priority",
        "seen_by",
        "sequence",
        "shared",
        "since",
        "tenant",
    )

    def __init__(
        self, arrival: int, sequence: int, distribution: LengthDistribution, cost: CostModel
    ) -> None:
        self.arrival = arrival
        self.since = float(arrival)
        self.sequence = sequence
        self.cost = cost
        self.take(distribution)
        self.lead = 0.0
        self.priority = 0
        self.handle = -1
        self.backlog = 0
        self.hit = 0
        self.matched_in_pass = NEVER
        self.parks = 0
        self.passed_at = -1
        self.prefilled = False
        self.seen_by: Any = None
        self.shared = 0
        self.parked_at = -1.0
        self.overdue = False
        self.opted_out = False
        self.awaits = False
        self.tenant = ""
        self.holder: Any = None

    def take(self, distribution: LengthDistribution) -> None:
        """This is believed of its output length."""
        self.distribution = distribution
        self.mean = mean_of(distribution)


def place_of(request: Any) -> Place | None:
    """The place ``QueueOrder.enter`` gave a request, or None."""
    return getattr(request, "_sagesched_place", None)


def mean_of(distribution: LengthDistribution) -> float:
    """Mean length by an exact sum: ranks on different processors must get the same bits."""
    return exact_dot(distribution.pmf, distribution.grid.edges)


def arrival_order(request: Any) -> tuple[float, int, int]:
    """Sort key of the stock order; strangers last, as they are."""
    place = place_of(request)
    if place is None:
        return (math.inf, 0, 0)
    return (place.priority, place.arrival, place.sequence)
