"""Once a step: whoever left the waiting queue (admitted, aborted, timed out) leaves our engine.

There are many ways out of the queue and one step loop, so the step loop is hooked; it costs one
comparison of two lengths when nobody left.
"""

from __future__ import annotations

from typing import Any

from sagesched.plugin import fallback, metrics
from sagesched.plugin.hook import Hook
from sagesched.plugin.place import place_of
from sagesched.plugin.state import SchedulerState, state_of
from sagesched.plugin.timing import timed


@timed
def get_new_batch_prefill(
    original: Any, self: Any, running_batch: Any, *args: Any, **kwargs: Any
) -> Any:
    """Let SGLang admit, then settle."""
    plan = original(self, running_batch, *args, **kwargs)
    state: SchedulerState | None = state_of(self.policy)
    if state is None:
        return plan
    admitted: list[Any] = []
    try:
        if state.order is not None and len(state.order) != len(self.waiting_queue):
            admitted = _were_waiting(plan)
            state.order.settle(self.waiting_queue)
    except Exception as error:
        fallback.report("settle", error)
        state.failed(self.waiting_queue)
    metrics.set_slots(0 if state.order is None else len(state.order))
    _report(self, state, plan, running_batch, admitted)
    return plan


def _report(scheduler: Any, state: SchedulerState, plan: Any, running: Any, admitted: Any) -> None:
    """What is reported of the step, not decided."""
    step, waiting = scheduler.forward_ct, len(scheduler.waiting_queue)
    try:
        if admitted:
            state.watch.admitted(admitted, step, waiting)
        state.watch.stepped(state, step)
    except Exception as error:
        fallback.report("watch", error)
    if state.whatif is not None:
        batches = (getattr(plan, "batch_to_run", plan), getattr(plan, "running_batch", running))
        busy = sum(len(batch.reqs) for batch in batches if batch is not None)
        state.what_if(lambda models: models.go_on(step, busy, waiting))


def _were_waiting(plan: Any) -> list[Any]:
    """Of the batch that SGLang made, the requests that still have a slot in the rank engine."""
    batch = getattr(plan, "batch_to_run", plan)
    if batch is None:
        return []
    places = ((request, place_of(request)) for request in batch.reqs)
    return [request for request, place in places if place is not None and place.handle >= 0]


HOOK = Hook(
    target="sglang.srt.managers.scheduler.Scheduler.get_new_batch_prefill",
    fn=get_new_batch_prefill,
    reason="release the rank-engine slots of requests that left the queue",
    parameters=("self", "running_batch"),
)
