"""A decode server's requests get KV memory, the best first; there is no admission after that."""

from __future__ import annotations

from typing import Any

from sagesched.plugin import fallback
from sagesched.plugin.disaggregation import dress
from sagesched.plugin.hook import Hook
from sagesched.plugin.hooks.queue_order import SPARE_PLACES
from sagesched.plugin.state import SchedulerState, state_of
from sagesched.plugin.timing import timed


def create_receiver_and_enqueue(
    original: Any, self: Any, req: Any, *args: Any, **kwargs: Any
) -> Any:
    """The only place where an entry of the queue is made."""
    entry = original(self, req, *args, **kwargs)
    if state_of(self.scheduler.policy) is not None:
        try:
            dress(entry)
        except Exception as error:
            fallback.report("enter", error)
    return entry


@timed
def pop_preallocated(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    """Order, let SGLang allocate, settle."""
    scheduler = self.scheduler
    state: SchedulerState | None = state_of(scheduler.policy)
    if state is None:
        return original(self, *args, **kwargs)
    running = scheduler.running_batch.reqs
    if state.order is not None and self.queue:
        _rank(self, state, running)
    taken, failed = original(self, *args, **kwargs)
    try:
        if state.order is not None and len(state.order) != len(self.queue):
            state.order.settle(self.queue)
        state.taken_tokens += sum(len(entry.origin_input_ids) for entry in taken)
    except Exception as error:
        fallback.report("settle", error)
        state.failed(self.queue)
    _report(self, state, taken, len(running))
    return taken, failed


def _rank(queue: Any, state: SchedulerState, running: list[Any]) -> None:
    assert state.order is not None
    try:
        places = queue.req_to_token_pool.available_size() + SPARE_PLACES
        if state.in_force:
            state.order.rank(queue.queue, places, _nothing_to_prefill, len(running))
            first = queue.queue[0]
            if state.checksum is not None:
                state.checksum.note(state.order.front, running)
        else:
            first = state.order.look(queue.queue, _nothing_to_prefill)
    except Exception as error:
        fallback.report("rank", error)
        state.failed(queue.queue)
        return
    try:
        state.watch.passed(first, len(queue.queue), state.in_force)
    except Exception as error:
        fallback.report("watch", error)


def _nothing_to_prefill(entry: Any) -> int:
    return len(entry.origin_input_ids) + len(entry.output_ids)


def _report(queue: Any, state: SchedulerState, taken: list[Any], running: int) -> None:
    """What is reported of the step, not decided."""
    step, waiting = queue.scheduler.forward_ct, len(queue.queue)
    try:
        if taken:
            state.watch.admitted(taken, step, waiting)
        state.watch.stepped(state, step)
    except Exception as error:
        fallback.report("watch", error)
    state.what_if(lambda models: models.go_on(step, running + len(taken), waiting))


CREATE = Hook(
    target="sglang.srt.disaggregation.decode.DecodePreallocQueue._create_receiver_and_enqueue",
    fn=create_receiver_and_enqueue,
    reason="make a decode server's queue entries readable as requests",
    parameters=("self", "req"),
)
POP = Hook(
    target="sglang.srt.disaggregation.decode.DecodePreallocQueue.pop_preallocated",
    fn=pop_preallocated,
    reason="give KV memory to a decode server's best requests first",
    parameters=("self",),
)
