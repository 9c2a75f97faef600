"""Where the data-parallel controller is wired: verified first, then ours in the place of stock."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from sagesched._version import __version__
from sagesched.balance import make_chooser
from sagesched.balance.registry import reads_predictions
from sagesched.plugin import dispatch_metrics
from sagesched.plugin.balance_method import FLAG, SAL_PROMPT, require_balance_mode
from sagesched.plugin.dispatch import Dispatch, Unreachable
from sagesched.plugin.errors import NotInForceError
from sagesched.plugin.ledger import Ledger
from sagesched.plugin.releases import controller_loads_plugins
from sagesched.plugin.settings import STOCK, predicts
from sagesched.plugin.state import STATE

NEEDED = (
    "_refresh_active_workers",
    "dispatching",
    "dp_active",
    "dp_budget",
    "launch_dp_size",
    "load_snapshot_reader",
    "refresh_load_budget_on_dispatch",
    "soft_watchdog",
    "status",
    "workers",
)
"""What we rely on in the controller beside the hooks."""
LOST = "The replica that had this request is gone; send it again, under a new id."
logger = logging.getLogger("sagesched")


def require_balance(method: str, resolved_args: Any) -> None:
    """Check release, hooks and server mode.

    Args:
        method: the value of ``--load-balance-method``.
        resolved_args: SGLang's arguments as resolved.

    Raises:
        NotInForceError: the message says what is wrong, and what to do.
    """
    from sagesched.plugin.verify import balance_in_force  # it lists the hook that calls this, too

    if not controller_loads_plugins():
        raise NotInForceError(
            f"{FLAG} {method}: this SGLang does not load plug-ins in its data-parallel controller "
            "(0.5.20 does not). Install 0.5.23, or put `sagesched route` in front of servers of "
            "one replica each."
        )
    balance_in_force(method)
    require_balance_mode(method, resolved_args)


def install(controller: Any, method: str, server_args: Any, tokenizer_ipc_name: str) -> None:
    """Put a `Dispatch` in the place of the controller's method.

    Raises:
        NotInForceError: the controller lacks what we rely on.
    """
    import zmq
    from sglang.srt.managers.io_struct import AbortReq, sock_send
    from sglang.srt.utils.network import get_zmq_socket

    missing = [name for name in NEEDED if not hasattr(controller, name)]
    if missing:
        raise NotInForceError(
            f"{FLAG} {method}: SGLang's DataParallelController has no {', '.join(missing)}"
        )
    predicted = reads_predictions(method) and is_predicting(server_args)
    to_tokenizer = get_zmq_socket(controller.context, zmq.PUSH, tokenizer_ipc_name, False)

    def send(socket: Any, request: Any) -> None:
        try:
            sock_send(socket, request, zmq.NOBLOCK)
        except zmq.Again:
            raise Unreachable from None

    def is_reachable(socket: Any) -> bool:
        """Its queue has no bound, so it takes nothing only where nobody is at the other end."""
        return bool(socket.getsockopt(zmq.EVENTS) & zmq.POLLOUT)

    def fail(rid: str, worker: str | None) -> None:
        reason = {"type": "abort", "message": LOST, "status_code": HTTPStatus.SERVICE_UNAVAILABLE}
        sock_send(to_tokenizer, AbortReq(rid=rid, finished_reason=reason, http_worker_ipc=worker))

    replicas = controller.launch_dp_size
    dispatch = Dispatch(
        controller,
        make_chooser(method if predicted else SAL_PROMPT, replicas, answers=False),
        Ledger(replicas, fail),
        send,
        is_reachable,
        reads_predictions=predicted,
    )
    if server_args.enable_metrics:
        dispatch_metrics.enable(replicas)
    setattr(controller, STATE, dispatch)
    controller.dispatching = dispatch
    controller.refresh_load_budget_on_dispatch = False  # ours reads the reports
    controller.soft_watchdog = EveryTurn(controller.soft_watchdog, dispatch)
    logger.info("sagesched %s: %s chooses among %d replicas", __version__, method, replicas)
    if reads_predictions(method) and not predicted:
        logger.warning(
            "sagesched: nothing is predicted under --schedule-policy %s, so %s chooses by prompts "
            "alone, as %s. --schedule-policy gittins predicts, and so does SAGESCHED_SHADOW=1 "
            "with --schedule-policy %s, which leaves the order as it is",
            *(server_args.schedule_policy, method, SAL_PROMPT, STOCK),
        )


def is_predicting(server_args: Any) -> bool:
    """Whether the tokenizer process of such a server attaches predictions."""
    from sagesched.plugin.verify import is_wanted

    policy = server_args.schedule_policy
    return is_wanted(policy) and predicts(policy)


class EveryTurn:
    """SGLang's watchdog of the controller's loop, which feeds it in every turn; so we see it, too.

    That is how a replica's end is noticed while no request comes.
    """

    def __init__(self, watchdog: Any, dispatch: Dispatch) -> None:
        self._watchdog = watchdog
        self._dispatch = dispatch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._watchdog, name)

    def feed(self) -> None:
        """Feed it, and look around."""
        self._watchdog.feed()
        self._dispatch.turn()
