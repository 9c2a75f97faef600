"""One pass of admission: before it running requests may give way, after it the order is settled.

There are many ways out of the waiting queue (admitted, aborted, timed out) and one step loop, so
the step loop is hooked; where nobody left and nobody gives way it costs two comparisons.
"""

from __future__ import annotations

from typing import Any

from sagesched.plugin import fallback, metrics
from sagesched.plugin.hook import Hook
from sagesched.plugin.place import place_of
from sagesched.plugin.release import release_to_tree
from sagesched.plugin.state import SchedulerState, state_of
from sagesched.plugin.timing import timed


@timed
def get_new_batch_prefill(
    original: Any, self: Any, running_batch: Any, *args: Any, **kwargs: Any
) -> Any:
    """Park, let SGLang admit, settle, requeue who was parked."""
    state: SchedulerState | None = state_of(self.policy)
    if state is None:
        return original(self, running_batch, *args, **kwargs)
    victims: list[Any] = []
    if state.order is not None and state.parking is not None:
        victims = _park(self, state, running_batch)
    state.passed_over = False
    plan = original(self, running_batch, *args, **kwargs)
    if state.passed_over:  # as SGLang does where nobody is passed: until somebody leaves it is full
        _decoding(plan, running_batch).batch_is_full = True
    admitted: list[Any] = []
    try:
        state.prefilled_tokens += _prefilled_tokens(plan)
        if state.order is not None and len(state.order) != len(self.waiting_queue):
            admitted = _were_waiting(plan)
            state.order.settle(self.waiting_queue)
    except Exception as error:
        fallback.report("settle", error)
        state.failed(self.waiting_queue)
    # Not earlier: admitted in the pass that released it, a request would take the token that is
    # still in flight for it a second time, under overlap.
    for request in victims:
        self._add_request_to_queue(request, is_retracted=True)
    _report(self, state, plan, running_batch, admitted)
    return plan


def _park(scheduler: Any, state: SchedulerState, batch: Any) -> list[Any]:
    """Release whoever gives way, its KV to the radix tree; an error ends parking for good."""
    victims: list[Any] = []
    try:
        assert state.parking is not None
        victims = _victims(scheduler, state, batch)
        if victims:
            release_to_tree(batch, victims)
            for request in victims:
                state.parking.park(request, state.now_s(scheduler.forward_ct))
            metrics.count_parked(len(victims))
    except Exception as error:
        fallback.report("park", error)
        state.parking = None
        victims = [request for request in victims if request.is_retracted]
    return victims


def _victims(scheduler: Any, state: SchedulerState, batch: Any) -> list[Any]:
    waiting, running = scheduler.waiting_queue, batch.reqs
    assert state.parking is not None
    assert state.order is not None
    if len(state.order) != len(waiting):
        state.order.settle(waiting)
    state.parking.hurry(state.order, state.now_s(scheduler.forward_ct))
    if not waiting:
        state.parking.rest()
    if not waiting or not running or scheduler.chunked_req is not None:
        return []
    if not batch.batch_is_full and _room_for(scheduler, batch) > 0:
        return []
    victims = state.parking.victims(running, state.order)
    room = scheduler.max_queued_requests
    if room is not None:  # a full queue would turn them away
        victims = victims[: max(0, room - len(waiting) - 1)]
    return victims


def _room_for(scheduler: Any, batch: Any) -> int:
    return int(scheduler.get_num_allocatable_reqs(len(batch.reqs), running_batch=batch))


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


def _decoding(plan: Any, running: Any) -> Any:
    """The batch that goes on decoding."""
    return getattr(plan, "running_batch", running)


def _prefilled_tokens(plan: Any) -> int:
    """Prompt tokens of the batch that SGLang made.

    Its own count, ``processed_tokens_counter``, adds those of a running batch's first prefill with
    every step that decodes.
    """
    batch = getattr(plan, "batch_to_run", plan)
    if batch is None:
        return 0
    return int(batch.extend_num_tokens or 0) - len(getattr(batch, "decoding_reqs", None) or ())


def _were_waiting(plan: Any) -> list[Any]:
    """Of the batch that SGLang made, the requests that still have a slot in the rank engine."""
    batch = getattr(plan, "batch_to_run", plan)
    if batch is None:
        return []
    # Mixed with running ones, they come first.
    new = batch.reqs[: len(batch.reqs) - len(getattr(batch, "decoding_reqs", None) or ())]
    places = ((request, place_of(request)) for request in new)
    return [request for request, place in places if place is not None and place.handle >= 0]


HOOK = Hook(
    target="sglang.srt.managers.scheduler.Scheduler.get_new_batch_prefill",
    fn=get_new_batch_prefill,
    reason="let running requests give way, and settle the order with who left the queue",
    parameters=("self", "running_batch"),
)
