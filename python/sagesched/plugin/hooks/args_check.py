"""SGLang's check of its arguments, as it launches: where ours are checked, too.

Priority classes: SGLang lets fcfs and lof have them; ours is a third and orders by class first, as
those do (``order.py``). The check reads arguments through what was declared of them last, so for as
long as it runs the policy is declared to be the fcfs beneath ours.

``--load-balance-method`` of ours: what stands against it is said before any process starts.
"""

from __future__ import annotations

from typing import Any

from sagesched.plugin.balance_method import is_balanced
from sagesched.plugin.hook import Hook
from sagesched.plugin.settings import POLICIES


def check_server_args(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    """Run SGLang's check, with ``fcfs`` in the place of ours, then our own."""
    result = _check(original, self, *args, **kwargs)
    if is_balanced(self):
        from sglang.srt.arg_groups.model_override_base import resolved_view

        from sagesched.plugin.dispatch_start import require_balance  # it verifies this hook, too

        require_balance(self.load_balance_method, resolved_view(self))
    return result


def _check(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    if self.schedule_policy not in POLICIES or not self.enable_priority_scheduling:
        return original(self, *args, **kwargs)
    before = getattr(self, "_resolved_overrides", None)
    beneath = ("sagesched", {"schedule_policy": "fcfs"})
    self._resolved_overrides = [*(before or ()), beneath]
    try:
        return original(self, *args, **kwargs)
    finally:  # what the check itself declared stays
        self._resolved_overrides = [d for d in self._resolved_overrides if d is not beneath]


HOOK = Hook(
    target="sglang.srt.server_args.ServerArgs.check_server_args",
    fn=check_server_args,
    reason="accept --enable-priority-scheduling beside our policy, check --load-balance-method",
    parameters=("self",),
)
