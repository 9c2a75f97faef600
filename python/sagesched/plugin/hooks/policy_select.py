"""The policy's name is resolved in each scheduler process; ours runs on top of stock fcfs.

This is the first of our code that runs in a scheduler, so it is where everything is verified: an
error here stops the server. A name that SGLang does not know is refused by SGLang itself, which
covers the case that our plug-in did not load in this process.
"""

from __future__ import annotations

from typing import Any

from sagesched.plugin.hook import Hook


def validate_and_adjust_policy(
    original: Any, self: Any, policy: str, tree_cache: Any, *args: Any, **kwargs: Any
) -> Any:
    """Verify and answer ``fcfs`` for ours and for a shadow; leave every other name to SGLang."""
    from sagesched.plugin.verify import is_wanted, settings_in_force  # it lists this hook, too

    if not is_wanted(policy):
        return original(self, policy, tree_cache, *args, **kwargs)
    settings_in_force(policy)
    return original(self, "fcfs", tree_cache, *args, **kwargs)


HOOK = Hook(
    target="sglang.srt.managers.schedule_policy.SchedulePolicy._validate_and_adjust_policy",
    fn=validate_and_adjust_policy,
    reason="resolve the names gittins and larry, verify every hook or stop the server",
    parameters=("self", "policy", "tree_cache"),
)
