"""Before admission, running requests may give way to better ones that wait (``parking.py``).

Their KV goes to the radix tree. They are put back in the queue only after the pass: admitted in the
pass that released it, a request would take the token that is still in flight for it a second time,
under overlap.
"""

from __future__ import annotations

from typing import Any

from sagesched.plugin import fallback, metrics
from sagesched.plugin.hook import Hook
from sagesched.plugin.state import SchedulerState, state_of
from sagesched.plugin.timing import timed


@timed
def get_new_batch_prefill(
    original: Any, self: Any, running_batch: Any, *args: Any, **kwargs: Any
) -> Any:
    """Park, let SGLang admit, requeue."""
    state: SchedulerState | None = state_of(self.policy)
    victims: list[Any] = []
    if state is not None and state.order is not None and state.parking is not None:
        try:
            state.parking.hurry(state.order, self.forward_ct)
            victims = _give_way(self, state, running_batch)
        except Exception as error:
            fallback.report("park", error)
            state.parking = None
    plan = original(self, running_batch, *args, **kwargs)
    for request in victims:
        self._add_request_to_queue(request, is_retracted=True)
    return plan


def _give_way(scheduler: Any, state: SchedulerState, batch: Any) -> list[Any]:
    """Release whoever gives way; nothing is released once an error is possible."""
    waiting, running = scheduler.waiting_queue, batch.reqs
    assert state.parking is not None and state.order is not None
    if not waiting or not running or scheduler.chunked_req is not None:
        return []
    if len(state.order) != len(waiting):
        state.order.settle(waiting)
    free = scheduler.get_num_allocatable_reqs(len(running), running_batch=batch)
    if free > 0 and not batch.batch_is_full:
        return []
    victims = state.parking.victims(running, state.order)
    room = getattr(scheduler, "max_queued_requests", None)
    if room is not None:  # a full queue would turn them away
        victims = victims[: max(0, room - len(waiting) - 1)]
    if victims:
        _release(batch, victims)
        for request in victims:
            state.parking.park(request, scheduler.forward_ct)
        metrics.count_parked(len(victims))
    return victims


def _release(batch: Any, victims: list[Any]) -> None:
    from sglang.srt.mem_cache.common import release_kv_cache

    chosen = {id(request) for request in victims}
    keep = [i for i, request in enumerate(batch.reqs) if id(request) not in chosen]
    for request in victims:
        release_kv_cache(request, batch.tree_cache, checkpoint=True)
        request.reset_for_retract()
    batch.filter_batch(keep_indices=keep)
    batch.batch_is_full = False


HOOK = Hook(
    target="sglang.srt.managers.scheduler.Scheduler.get_new_batch_prefill",
    fn=get_new_batch_prefill,
    reason="let running requests give way to better ones, their KV kept in the radix tree",
    parameters=("self", "running_batch"),
)
