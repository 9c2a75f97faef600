"""Priority classes: SGLang's check of its arguments lets fcfs and lof have them; ours is a third.

Ours orders by class first, as those do (``order.py``). The check reads arguments through what was
declared of them last, so for as long as it runs the policy is declared to be the fcfs beneath ours.
"""

from __future__ import annotations

from typing import Any

from sagesched.plugin.hook import Hook
from sagesched.plugin.settings import POLICIES


def check_server_args(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    """Run SGLang's check, with ``fcfs`` in the place of ours."""
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
    reason="accept --enable-priority-scheduling beside our policy",
    parameters=("self",),
)
