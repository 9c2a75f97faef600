"""``--schedule-policy gittins`` and ``larry`` become choices, also in ``--help``."""

from __future__ import annotations

from typing import Any

from sagesched.plugin.hook import Hook
from sagesched.plugin.settings import POLICIES

FLAG = "--schedule-policy"


def add_cli_args(original: Any, parser: Any, *args: Any, **kwargs: Any) -> Any:
    """Run SGLang's own declaration, then add ours to the choices of one flag."""
    result = original(parser, *args, **kwargs)
    for action in parser._actions:
        if FLAG in action.option_strings and action.choices:  # a new list: SGLang's stays as it is
            ours = [policy for policy in POLICIES if policy not in action.choices]
            action.choices = [*action.choices, *ours]
    return result


HOOK = Hook(
    target="sglang.srt.server_args.ServerArgs.add_cli_args",
    fn=add_cli_args,
    reason="accept --schedule-policy gittins and larry, and list them in --help",
    parameters=("parser",),
)
