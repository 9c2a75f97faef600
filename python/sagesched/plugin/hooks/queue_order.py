"""The scheduler asks for the queue's order before it admits: the best come to the front."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from sagesched.plugin import fallback
from sagesched.plugin.hook import Hook
from sagesched.plugin.releases import match_prefix
from sagesched.plugin.state import SchedulerState, state_of

SPARE_PLACES = 16


def calc_priority(
    original: Any,
    self: Any,
    waiting_queue: list[Any],
    running_batch: Any = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Stock fcfs first (it keeps its own books), then our order on top of it."""
    state: SchedulerState | None = state_of(self)
    if state is None or state.order is None:
        return original(self, waiting_queue, running_batch, *args, **kwargs)
    with _without_classes(self):
        result = original(self, waiting_queue, running_batch, *args, **kwargs)
    running = [] if running_batch is None else running_batch.reqs
    free = state.max_running - (0 if state.preempts else len(running))
    places = max(0, free) + SPARE_PLACES
    try:
        state.order.rank(waiting_queue, places, _prefix_lookup(self.tree_cache))
        if state.checksum is not None:
            state.checksum.note(state.order.front, running)
    except Exception as error:
        fallback.report("rank", error)
        state.failed(waiting_queue)
    return result


@contextlib.contextmanager
def _without_classes(policy: Any) -> Iterator[None]:
    """With priority scheduling stock fcfs sorts the whole queue by class; that is ours to do."""
    enabled = policy.enable_priority_scheduling
    policy.enable_priority_scheduling = False
    try:
        yield
    finally:
        policy.enable_priority_scheduling = enabled


def _prefix_lookup(tree_cache: Any) -> Any:
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
