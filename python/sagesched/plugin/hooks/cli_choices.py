"""``--schedule-policy gittins`` becomes a choice, also in ``--help``."""

from __future__ import annotations

from typing import Any

from sagesched.plugin.hook import Hook
from sagesched.plugin.settings import POLICY

FLAG = "--schedule-policy"


def add_cli_args(original: Any, parser: Any, *args: Any, **kwargs: Any) -> Any:
    """Run SGLang's own declaration, then add ours to the choices of one flag."""
    result = original(parser, *args, **kwargs)
    for action in parser._actions:
        if FLAG in action.option_strings and POLICY not in (action.choices or [POLICY]):
            action.choices = [*action.choices, POLICY]  # a new list: SGLang's own stays as it is
    return result


HOOK = Hook(
    target="sglang.srt.server_args.ServerArgs.add_cli_args",
    fn=add_cli_args,
    reason="accept --schedule-policy gittins and list it in --help",
    parameters=("parser",),
)
