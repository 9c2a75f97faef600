"""A request enters the waiting queue, for the first time or after a retraction.

All paths into the queue lead through here (new, batch, grammar ready, retracted, preempted); SGLang
may also turn the request away (queue full, priority), then it is not in the queue afterwards.
"""

from __future__ import annotations

from typing import Any

from sagesched.lengths import LengthDistribution
from sagesched.plugin import fallback, metrics
from sagesched.plugin.disaggregation import DECODE, PREFILL, ordered_queue, role_of
from sagesched.plugin.hook import Hook
from sagesched.plugin.hooks.foretold import ranked
from sagesched.plugin.place import place_of
from sagesched.plugin.state import SchedulerState, state_of
from sagesched.plugin.timing import timed
from sagesched.plugin.wire import Wishes, detach, detach_wishes, strip


@timed
def add_request_to_queue(original: Any, self: Any, req: Any, *args: Any, **kwargs: Any) -> Any:
    """Let SGLang queue the request, then give it its place in our order."""
    limit = getattr(req.sampling_params, "max_new_tokens", None)  # a prefill server makes it 1
    result = original(self, req, *args, **kwargs)
    state: SchedulerState | None = state_of(self.policy)
    if state is not None:
        try:
            _entered(self, state, req, limit)
        except Exception as error:
            fallback.report("enter", error)
            state.failed(ordered_queue(self, state.role))
    return result


def _entered(scheduler: Any, state: SchedulerState, req: Any, limit: int | None) -> None:
    """SGLang has queued it; ``limit`` is what it said itself of its length."""
    if state.order is None:
        strip(req.sampling_params)
        return
    rid, prompt = req.rid, len(req.origin_input_ids)
    step, role = scheduler.forward_ct, _role(scheduler, state)
    known = place_of(req) is not None
    wishes = Wishes() if known else _wishes(req)
    queue = _queue_of(scheduler, role)
    if not queue or not (queue[-1] is req or getattr(queue[-1], "req", None) is req):
        if known and role == DECODE:
            _comes_back(state, scheduler.disagg_decode_prealloc_queue.retracted_queue)
            _note(state, req, wishes, known)
        elif wishes.follows and wishes.sent_s is not None:
            state.following.turned_away((rid, wishes.sent_s))
        return  # SGLang turned it away, or keeps its KV elsewhere
    if wishes.sent_s is not None:
        _tell_time(state, wishes.sent_s, step, len(queue) == 1 and not scheduler.running_batch.reqs)
    predicted, follows = (None, False) if known else _prediction(state, req, wishes)
    try:
        if role:
            _enter(state, queue[-1], req, step, predicted, limit, wishes)
        else:
            state.order.enter(req, step, predicted, limit, wishes.opted_out, follows)
    except Exception as error:
        fallback.report("enter", error)
        state.failed(ordered_queue(scheduler, role))
    if wishes.opted_out:
        metrics.count_opted_out()
    _note(state, req, wishes, known)
    place = place_of(req)
    if place is not None and follows and wishes.sent_s is not None:
        state.following.awaits((rid, wishes.sent_s), place, prompt)
    elif place is not None and not known:
        ranked(state, place, prompt, predicted is not None, step)
    if known:
        _waits_again(state, req, step)


def _tell_time(state: SchedulerState, sent_s: float, step: int, idle: bool) -> None:
    """To the clock that all ranks share."""
    try:
        state.clock.saw(sent_s, step, state.prefilled_tokens, idle=idle)
    except Exception as error:
        fallback.report("clock", error)


def _waits_again(state: SchedulerState, req: Any, step: int) -> None:
    """A stream that was retracted waits no longer than one that gave way."""
    try:
        place = place_of(req)
        if place is not None and place.parked_at < 0 and state.parking is not None:
            state.parking.retracted(req, state.now_s(step))
    except Exception as error:
        fallback.report("retracted", error)


def _queue_of(scheduler: Any, role: str) -> list[Any]:
    """Where SGLang puts a request that has come."""
    if role == PREFILL:
        return scheduler.disagg_prefill_bootstrap_queue.queue  # type: ignore[no-any-return]
    return ordered_queue(scheduler, role)


def _role(scheduler: Any, state: SchedulerState) -> str:
    """Of a disaggregated server, which may have been switched from prefill to decode, or back."""
    try:
        if state.role != (role := role_of(scheduler)):
            state.take_role(role)
    except Exception as error:
        fallback.report("role", error)
        state.failed([])
    return state.role


def _enter(
    state: SchedulerState,
    entry: Any,
    req: Any,
    step: int,
    predicted: LengthDistribution | None,
    limit: int | None,
    wishes: Wishes,
) -> None:
    """Of a disaggregated server; ``entry`` is the request, or what stands for it in the queue."""
    assert state.order is not None
    if place_of(req) is None:
        place = state.order.expect(req, step, predicted, limit, wishes.opted_out)
        place.prefilled = state.role == DECODE
        entry._sagesched_place = place
    order = state.bootstrap if state.role == PREFILL else state.order
    if order is not None:
        order.enter(entry, step, None)


def _comes_back(state: SchedulerState, retracted: list[Any]) -> None:
    """A decode server resumes those before it takes others, in this order."""
    if not (state.in_force and state.predicts and state.order is not None):
        return
    try:
        if all(place_of(request) is not None for request in retracted):
            retracted[:] = [request for _, request in state.order.worst_first(retracted)[::-1]]
    except Exception as error:
        fallback.report("retraction", error)


def _note(state: SchedulerState, req: Any, wishes: Wishes, known: bool) -> None:
    """What is reported of the request, not decided."""
    place = place_of(req)
    if place is None:
        return
    try:
        place.holder = state
        if not known:
            place.tenant = wishes.tenant
        state.watch.entered(req, known)
    except Exception as error:
        fallback.report("watch", error)


def _wishes(req: Any) -> Wishes:
    """What else travels in the request; a failure counts and is as if there were nothing."""
    try:
        return detach_wishes(req.sampling_params)
    except Exception as error:
        fallback.report("malformed_wishes", error)
        return Wishes()


def _prediction(
    state: SchedulerState, req: Any, wishes: Wishes
) -> tuple[LengthDistribution | None, bool]:
    """The prediction that came with the request, or before it, and whether it is still to come; a
    malformed one counts and is ignored."""
    if not state.predicts or state.order is None:
        strip(req.sampling_params)  # a client wrote it
        return None, False
    try:
        if wishes.follows and wishes.sent_s is not None and not state.role:
            sent = (req.rid, wishes.sent_s)
            if state.following.has_come(sent):
                return state.following.take(sent), False
            return None, True
        return detach(req.sampling_params, state.order.grid), False
    except Exception as error:
        fallback.report("malformed_prediction", error)
        return None, False


HOOK = Hook(
    target="sglang.srt.managers.scheduler.Scheduler._add_request_to_queue",
    fn=add_request_to_queue,
    reason="take the prediction out of the request and rank it",
    parameters=("self", "req"),
)
