"""The prediction of a request has come, which has entered already, or is about to.

It follows its request in a message of its own (``predict_request.py``, ``control.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sagesched.plugin import fallback
from sagesched.plugin.place import Place
from sagesched.plugin.state import SchedulerState
from sagesched.plugin.wire import OF_KEY, read_message


def foretold(scheduler: Any, state: SchedulerState, rid: str, values: Mapping[str, Any]) -> None:
    """Rank it by that, wherever it is now; keep it for one that is still to enter."""
    if not state.predicts:
        return
    sent = (rid, values[OF_KEY])
    if state.order is None:  # switched off: who awaited it may leave
        state.following.forget(sent)
        return
    try:
        predicted = read_message(values, state.order.grid)
    except Exception as error:
        fallback.report("malformed_prediction", error)
        predicted = None
    try:
        awaited = state.following.came(sent, predicted)
        if awaited is None:
            return
        place, prompt = awaited.place, awaited.prompt
        state.order.settle(scheduler.waiting_queue)  # who began in the last step waits no longer
        state.order.foretell(place, prompt, predicted)
        ranked(state, place, prompt, predicted is not None, scheduler.forward_ct)
    except Exception as error:
        fallback.report("foretold", error)
        state.failed(scheduler.waiting_queue)


def ranked(state: SchedulerState, place: Place, prompt: int, predicted: bool, step: int) -> None:
    """Report a request, now that it is known how long its output may be."""
    state.watch.ranked(predicted)
    state.what_if(lambda models: models.arrive(prompt, place, step))
