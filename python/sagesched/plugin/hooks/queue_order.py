"""The scheduler asks for the queue's order before it admits: the best come to the front."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from sagesched.plugin import fallback
from sagesched.plugin.disaggregation import DECODE
from sagesched.plugin.hook import Hook
from sagesched.plugin.releases import match_prefix
from sagesched.plugin.state import SchedulerState, state_of
from sagesched.plugin.timing import timed

SPARE_PLACES = 24
"""In order beyond those that can be admitted now: for requests that are passed over, and so that
not every pass need choose anew."""
LEAST_SPARE = 8
"""With fewer of them left it chooses anew."""


@timed
def calc_priority(
    original: Any,
    self: Any,
    waiting_queue: list[Any],
    running_batch: Any = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Stock fcfs first (it keeps its own books), then our order on top of it, or beside it."""
    state: SchedulerState | None = state_of(self)
    if state is None or state.order is None or state.role == DECODE:
        return original(self, waiting_queue, running_batch, *args, **kwargs)
    with _without_classes(self) if state.in_force else contextlib.nullcontext():
        result = original(self, waiting_queue, running_batch, *args, **kwargs)
    running = [] if running_batch is None else running_batch.reqs
    free = state.max_running - (0 if state.preempts else len(running))
    places = max(0, free) + SPARE_PLACES
    try:
        if state.in_force:
            look_up, spare = prefix_lookup(self.tree_cache), SPARE_PLACES - LEAST_SPARE
            state.order.rank(waiting_queue, places, look_up, len(running), spare)
            first = waiting_queue[0] if waiting_queue else None
            if state.checksum is not None:
                state.checksum.note(state.order.front, running)
        else:
            first = state.order.look(waiting_queue, _known_prefix)
    except Exception as error:
        fallback.report("rank", error)
        state.failed(waiting_queue)
        return result
    try:
        state.watch.passed(first, len(waiting_queue), state.in_force)
    except Exception as error:
        fallback.report("watch", error)
    return result


def _known_prefix(request: Any) -> int:
    """The hit that SGLang itself noted last: a look-up would renew the cache's entries."""
    return int(getattr(request, "num_matched_prefix_tokens", 0) or 0)


@contextlib.contextmanager
def _without_classes(policy: Any) -> Iterator[None]:
    """With priority scheduling stock fcfs sorts the whole queue by class; that is ours to do."""
    enabled = policy.enable_priority_scheduling
    policy.enable_priority_scheduling = False
    try:
        yield
    finally:
        policy.enable_priority_scheduling = enabled


def prefix_lookup(tree_cache: Any) -> Any:
    """How to look up a request's radix-cache hit of now, in tokens."""
    if getattr(tree_cache, "disable", True):
        return lambda request: 0
    return lambda request: match_prefix(request, tree_cache)


HOOK = Hook(
    target="sglang.srt.managers.schedule_policy.SchedulePolicy.calc_priority",
    fn=calc_priority,
    reason="bring the smallest indices to the front of the waiting queue",
    parameters=("self", "waiting_queue", "running_batch"),
)
