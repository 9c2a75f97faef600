"""The data-parallel controller: our method's name, our dispatch, and no waiting for the dead.

A name that SGLang does not know is refused by SGLang itself, which covers the case that our plug-in
did not load in this process.
"""

from __future__ import annotations

from typing import Any

from sagesched.plugin.balance_method import BENEATH, METHODS, is_balanced
from sagesched.plugin.hook import Hook
from sagesched.plugin.state import state_of


def from_str(original: Any, cls: Any, method: str) -> Any:
    """``total_tokens`` for ours; every other name is SGLang's."""
    return original(cls, BENEATH if method in METHODS else method)


def init(
    original: Any, self: Any, server_args: Any, port_args: Any, *args: Any, **kwargs: Any
) -> Any:
    """Verify, let SGLang start the replicas, then install ours."""
    if not is_balanced(server_args):
        return original(self, server_args, port_args, *args, **kwargs)
    from sagesched.plugin.dispatch_start import install, require_balance  # they list this hook

    method = server_args.load_balance_method
    require_balance(method, _resolved(server_args))
    result = original(self, server_args, port_args, *args, **kwargs)
    install(self, method, server_args, port_args.tokenizer_ipc_name)
    return result


def send_control_message(original: Any, self: Any, obj: Any) -> Any:
    """Not to a replica that is gone: SGLang would wait for it for ever."""
    dispatch = state_of(self)
    if dispatch is not None:
        dispatch.check()
        dispatch.told(obj)
    return original(self, obj)


def dispatch_health_check(original: Any, self: Any, req: Any) -> Any:
    """The same."""
    _check(self)
    return original(self, req)


def send_to_all_workers(original: Any, self: Any, obj: Any) -> Any:
    """The same."""
    _check(self)
    return original(self, obj)


def _check(controller: Any) -> None:
    dispatch = state_of(controller)
    if dispatch is not None:
        dispatch.check()


def _resolved(server_args: Any) -> Any:
    from sglang.srt.arg_groups.model_override_base import resolved_view

    return resolved_view(server_args)


_CONTROLLER = "sglang.srt.managers.data_parallel_controller."
METHOD = Hook(
    target=_CONTROLLER + "LoadBalanceMethod.from_str",
    fn=from_str,
    reason="resolve the names sal and sal-prompt, with total_tokens underneath",
    parameters=("cls", "method"),
)
START = Hook(
    target=_CONTROLLER + "DataParallelController.__init__",
    fn=init,
    reason="choose the replica of each request in the place of SGLang's method",
    parameters=("self", "server_args", "port_args"),
)
CONTROL = Hook(
    target=_CONTROLLER + "DataParallelController.send_control_message",
    fn=send_control_message,
    reason="send nothing to a replica that is gone",
    parameters=("self", "obj"),
)
ALL = Hook(
    target=_CONTROLLER + "DataParallelController.send_to_all_workers",
    fn=send_to_all_workers,
    reason="the same for profiling and blocking",
    parameters=("self", "obj"),
)
HEALTH = Hook(
    target=_CONTROLLER + "DataParallelController.dispatch_health_check",
    fn=dispatch_health_check,
    reason="the same for health checks",
    parameters=("self", "req"),
)
