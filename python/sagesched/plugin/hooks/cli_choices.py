"""Ours become choices of two options, ``--schedule-policy`` and ``--load-balance-method``."""

from __future__ import annotations

from typing import Any

from sagesched.plugin import balance_method
from sagesched.plugin.hook import Hook
from sagesched.plugin.settings import POLICIES

OURS = {"--schedule-policy": POLICIES, balance_method.FLAG: balance_method.METHODS}


def add_cli_args(original: Any, parser: Any, *args: Any, **kwargs: Any) -> Any:
    """Run SGLang's own declaration, then add ours to the choices of two flags."""
    result = original(parser, *args, **kwargs)
    for action in parser._actions:
        for flag, names in OURS.items():
            if flag in action.option_strings and action.choices:  # a new list: SGLang's stays
                ours = [name for name in names if name not in action.choices]
                action.choices = [*action.choices, *ours]
    return result


HOOK = Hook(
    target="sglang.srt.server_args.ServerArgs.add_cli_args",
    fn=add_cli_args,
    reason="accept our --schedule-policy and --load-balance-method, and list them in --help",
    parameters=("parser",),
)
