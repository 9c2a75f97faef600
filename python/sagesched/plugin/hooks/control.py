"""The policy and the dial can be changed while the server runs, and read back.

SGLang's ``POST /set_internal_state`` reaches every scheduler, and within one all ranks between the
same two steps, so they go on agreeing. It takes numbers only. ``GET /server_info`` reads back from
each data-parallel replica.

Predictions that follow their requests come the same way (``wire.py``), and are not answered.
"""

from __future__ import annotations

import logging
from typing import Any

from sagesched.plugin import fallback
from sagesched.plugin.control import OURS, ControlError, read_change
from sagesched.plugin.disaggregation import ordered_queue
from sagesched.plugin.hook import Hook
from sagesched.plugin.hooks.foretold import foretold
from sagesched.plugin.releases import replica_of
from sagesched.plugin.state import SchedulerState, state_of
from sagesched.plugin.timing import timed
from sagesched.plugin.wire import is_message

logger = logging.getLogger("sagesched")


@timed
def set_internal_state(original: Any, self: Any, recv_req: Any, *args: Any, **kwargs: Any) -> Any:
    """Take what is ours; everything else is SGLang's."""
    state: SchedulerState | None = state_of(self.policy)
    asked = recv_req.server_args
    if state is not None and recv_req.rid is not None and is_message(asked):
        foretold(self, state, recv_req.rid, asked)
        return None
    if state is None or not any(str(key).startswith(OURS) for key in asked):
        return original(self, recv_req, *args, **kwargs)
    from sglang.srt.managers.io_struct import SetInternalStateReqOutput

    try:
        change = read_change(asked)
        if change.in_force and change.policy != state.policy:
            raise ControlError(f"this server was started with {state.policy}, not {change.policy}")
        state.switch(ordered_queue(self, state.role), in_force=change.in_force, dial=change.dial)
        if state.bootstrap is not None and not state.in_force:
            state.bootstrap.rest(self.disagg_prefill_bootstrap_queue.queue)
        logger.info("sagesched: switched at run time: %s", state.describe())
    except ControlError as error:
        logger.warning("sagesched: nothing was changed: %s", error)
        return SetInternalStateReqOutput(updated=False)
    except Exception as error:
        fallback.report("switch", error)
        state.failed(ordered_queue(self, state.role))
        return SetInternalStateReqOutput(updated=False)
    return SetInternalStateReqOutput(updated=True)


def get_internal_state(original: Any, self: Any, recv_req: Any, *args: Any, **kwargs: Any) -> Any:
    """Add what is in force here."""
    result = original(self, recv_req, *args, **kwargs)
    state: SchedulerState | None = state_of(self.policy)
    if state is not None:
        try:
            result.internal_state["sagesched"] = {"replica": replica_of(self), **state.describe()}
        except Exception as error:
            fallback.report("describe", error)
    return result


SET = Hook(
    target="sglang.srt.managers.scheduler.Scheduler.set_internal_state",
    fn=set_internal_state,
    reason="change the policy and the dial at run time, and take predictions that follow",
    parameters=("self", "recv_req"),
)
GET = Hook(
    target="sglang.srt.managers.scheduler.Scheduler.get_internal_state",
    fn=get_internal_state,
    reason="say which policy and dial are in force",
    parameters=("self", "recv_req"),
)
