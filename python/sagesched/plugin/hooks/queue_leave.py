"""Once a step: whoever left the waiting queue (admitted, aborted, timed out) leaves our engine.

There are many ways out of the queue and one step loop, so the step loop is hooked; it costs one
comparison of two lengths when nobody left.
"""

from __future__ import annotations

from typing import Any

from sagesched.plugin import fallback, metrics
from sagesched.plugin.hook import Hook
from sagesched.plugin.state import SchedulerState, state_of


def get_new_batch_prefill(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    """Let SGLang admit, then settle."""
    plan = original(self, *args, **kwargs)
    state: SchedulerState | None = state_of(self.policy)
    if state is None or state.order is None:
        return plan
    try:
        if len(state.order) != len(self.waiting_queue):
            state.order.settle(self.waiting_queue)
    except Exception as error:
        fallback.report("settle", error)
        state.failed(self.waiting_queue)
    metrics.set_slots(0 if state.order is None else len(state.order))
    return plan


HOOK = Hook(
    target="sglang.srt.managers.scheduler.Scheduler.get_new_batch_prefill",
    fn=get_new_batch_prefill,
    reason="release the rank-engine slots of requests that left the queue",
    parameters=("self", "running_batch"),
)
