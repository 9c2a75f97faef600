"""A request enters the waiting queue, for the first time or after a retraction.

All paths into the queue lead through here (new, batch, grammar ready, retracted, preempted); SGLang
may also turn the request away (queue full, priority), then it is not in the queue afterwards.
"""

from __future__ import annotations

from typing import Any

from sagesched.lengths import LengthDistribution
from sagesched.plugin import fallback, metrics
from sagesched.plugin.hook import Hook
from sagesched.plugin.place import place_of
from sagesched.plugin.state import SchedulerState, state_of
from sagesched.plugin.timing import timed
from sagesched.plugin.wire import Wishes, detach, detach_wishes, strip


@timed
def add_request_to_queue(original: Any, self: Any, req: Any, *args: Any, **kwargs: Any) -> Any:
    """Let SGLang queue the request, then give it its place in our order."""
    result = original(self, req, *args, **kwargs)
    state: SchedulerState | None = state_of(self.policy)
    if state is None:
        return result
    if state.order is None:
        strip(req.sampling_params)
        return result
    if not (self.waiting_queue and self.waiting_queue[-1] is req):
        return result  # SGLang turned it away
    known = place_of(req) is not None
    wishes = Wishes() if known else _wishes(req)
    if wishes.sent_s is not None:
        state.clock.saw(wishes.sent_s, self.forward_ct)
    predicted = None if known else _prediction(state, req)
    try:
        limit = req.sampling_params.max_new_tokens
        state.order.enter(req, self.forward_ct, predicted, limit, wishes.opted_out)
    except Exception as error:
        fallback.report("enter", error)
        state.failed(self.waiting_queue)
    if not known:
        metrics.count_ranked("prior" if predicted is None else "predicted")
    _note(state, req, wishes, predicted is not None, known, self.forward_ct)
    if known:
        _waits_again(state, req, self.forward_ct)
    return result


def _waits_again(state: SchedulerState, req: Any, step: int) -> None:
    """A stream that was retracted waits no longer than one that gave way."""
    try:
        place = place_of(req)
        if place is not None and place.parked_at < 0 and state.parking is not None:
            state.parking.retracted(req, state.clock.at(step))
    except Exception as error:
        fallback.report("retracted", error)


def _note(
    state: SchedulerState, req: Any, wishes: Wishes, predicted: bool, known: bool, step: int
) -> None:
    """What is reported of the request, not decided."""
    place = place_of(req)
    if place is None:
        return
    try:
        place.holder = state
        if not known:
            place.tenant = wishes.tenant
        state.watch.entered(req, predicted, known)
    except Exception as error:
        fallback.report("watch", error)
    if not known:
        state.what_if(lambda models: models.arrive(req, place, step))


def _wishes(req: Any) -> Wishes:
    """What else travels in the request; a failure counts and is as if there were nothing."""
    try:
        return detach_wishes(req.sampling_params)
    except Exception as error:
        fallback.report("malformed_wishes", error)
        return Wishes()


def _prediction(state: SchedulerState, req: Any) -> LengthDistribution | None:
    """Take the prediction out of the request; a malformed one counts and is ignored."""
    if not state.predicts or state.order is None:
        strip(req.sampling_params)  # a client wrote it
        return None
    try:
        return detach(req.sampling_params, state.order.grid)
    except Exception as error:
        fallback.report("malformed_prediction", error)
        return None


HOOK = Hook(
    target="sglang.srt.managers.scheduler.Scheduler._add_request_to_queue",
    fn=add_request_to_queue,
    reason="take the prediction out of the request and rank it",
    parameters=("self", "req"),
)
