"""Every touch point in SGLang, in the order a request meets them."""

from __future__ import annotations

from sagesched.plugin.hook import Hook
from sagesched.plugin.hooks import (
    abort,
    admission,
    args_check,
    balance_dispatch,
    bootstrap,
    cli_choices,
    control,
    front_end,
    outcome,
    policy_select,
    preallocation,
    predict_request,
    queue_enter,
    queue_order,
    retraction,
    router_start,
    scheduler_start,
    tokenizer_start,
)

HOOKS: tuple[Hook, ...] = (
    cli_choices.HOOK,
    args_check.HOOK,
    policy_select.HOOK,
    scheduler_start.HOOK,
    router_start.HOOK,
    tokenizer_start.HOOK,
    predict_request.ONE,
    predict_request.BATCH,
    abort.HOOK,
    queue_enter.HOOK,
    bootstrap.HOOK,
    preallocation.CREATE,
    preallocation.POP,
    queue_order.HOOK,
    admission.HOOK,
    retraction.HOOK,
    control.SET,
    control.GET,
    outcome.OUTPUT,
    outcome.ABORT,
    front_end.START,
    front_end.RECEIVED,
    front_end.OUTPUT,
)
"""What ``--schedule-policy`` of ours relies on."""
BALANCE_HOOKS: tuple[Hook, ...] = (
    balance_dispatch.METHOD,
    balance_dispatch.START,
    balance_dispatch.CONTROL,
    balance_dispatch.ALL,
    balance_dispatch.HEALTH,
)
"""What ``--load-balance-method`` of ours relies on beside the check of the arguments."""
