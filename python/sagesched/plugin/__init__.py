"""The SGLang plug-in: our policies and load-balance methods in stock SGLang.

SGLang calls ``register`` in every process it starts (entry point ``sglang.srt.plugins``).
"""

from __future__ import annotations


def register() -> None:
    """Register the hooks of ``table.py`` with SGLang; it applies them right afterwards."""
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    from sagesched.plugin.releases import controller_loads_plugins
    from sagesched.plugin.table import BALANCE_HOOKS, HOOKS

    for hook in (*HOOKS, *(BALANCE_HOOKS if controller_loads_plugins() else ())):
        HookRegistry.register(hook.target, hook.fn, HookType.AROUND)
