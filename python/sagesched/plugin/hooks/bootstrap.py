"""A prefill server's requests leave the bootstrap queue for the waiting queue.

They leave when their decode server is ready for them, as long as there are buffers for what a
transfer says of itself. Where these are scarcer than those who want them, the best come first.
"""

from __future__ import annotations

from typing import Any

from sagesched.plugin import fallback
from sagesched.plugin.hook import Hook
from sagesched.plugin.hooks.queue_order import SPARE_PLACES, prefix_lookup
from sagesched.plugin.state import SchedulerState, state_of
from sagesched.plugin.timing import timed


@timed
def pop_bootstrapped(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    """Order, let SGLang take who is ready, and rank them among those that wait."""
    state: SchedulerState | None = state_of(self.scheduler.policy)
    if state is None or state.order is None:
        return original(self, *args, **kwargs)
    _rank(self, state)
    result = original(self, *args, **kwargs)
    popped = result[0] if isinstance(result, tuple) else result  # 0.5.20 may tell who failed
    if popped:
        _enter(self.scheduler, state, popped)
    return result


def _rank(queue: Any, state: SchedulerState) -> None:
    if state.bootstrap is None:
        return
    try:
        if len(state.bootstrap) != len(queue.queue):
            state.bootstrap.settle(queue.queue)
        buffers = queue.req_to_metadata_buffer_idx_allocator.available_size()
        if state.in_force and buffers < len(queue.queue):
            lookup = prefix_lookup(queue.scheduler.tree_cache)
            state.bootstrap.rank(queue.queue, buffers + SPARE_PLACES, lookup)
    except Exception as error:
        fallback.report("bootstrap", error)
        state.bootstrap = None


def _enter(scheduler: Any, state: SchedulerState, popped: list[Any]) -> None:
    """Each has one place: it leaves one order before it is in the other."""
    try:
        if state.bootstrap is not None:
            state.bootstrap.settle(scheduler.disagg_prefill_bootstrap_queue.queue)
        for request in popped:
            assert state.order is not None
            state.order.enter(request, scheduler.forward_ct, None)
    except Exception as error:
        fallback.report("enter", error)
        state.failed(scheduler.waiting_queue)


HOOK = Hook(
    target="sglang.srt.disaggregation.prefill.PrefillBootstrapQueue.pop_bootstrapped",
    fn=pop_bootstrapped,
    reason="order a prefill server's requests before and after their transfers are set up",
    parameters=("self",),
)
