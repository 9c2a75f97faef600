"""A policy of ours that was asked for and is not in force must stop the server, loudly.

SGLang's plug-in loader logs a failed plug-in and serves on with stock behaviour; nobody would
notice. So the first thing that runs in our name checks every hook.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sagesched._version import __version__
from sagesched.plugin.balance_method import FLAG
from sagesched.plugin.errors import NotInForceError
from sagesched.plugin.hook import Hook
from sagesched.plugin.hooks import args_check
from sagesched.plugin.settings import POLICY, Settings, is_ours, read_settings
from sagesched.plugin.table import BALANCE_HOOKS, HOOKS
from sagesched.plugin.versions import SUPPORTED, advice, sglang_version


@dataclass(frozen=True)
class HookState:
    """One hook as found in this process; ``problem`` is None when it is in force."""

    hook: Hook
    problem: str | None


def hook_states(hooks: Sequence[Hook] = HOOKS) -> list[HookState]:
    """These hooks, as found in this process."""
    return [HookState(hook, hook.problem()) for hook in hooks]


def settings_in_force(policy: str = POLICY) -> Settings:
    """Read the settings and check that the policy can be in force with them.

    Raises:
        NotInForceError: a setting, the release or a hook is wrong; the message says which.
    """
    try:
        settings = read_settings()
    except ValueError as error:
        raise NotInForceError(
            f"--schedule-policy {policy}: {error}\n`sagesched doctor` lists every setting."
        ) from None
    require_in_force(settings, policy)
    return settings


def is_wanted(policy: str) -> bool:
    """Whether a server of this ``--schedule-policy`` is to run our hooks: ours, or a shadow.

    Raises:
        NotInForceError: ``SAGESCHED_SHADOW`` does not go with the policy.
    """
    try:
        return is_ours(policy)
    except ValueError as error:
        raise NotInForceError(f"{error}.\n`sagesched doctor` lists every setting.") from None


def require_in_force(settings: Settings, policy: str = POLICY) -> None:
    """Check release and hooks.

    Raises:
        NotInForceError: naming every broken hook, the versions, and what to do.
    """
    _require(settings, "--schedule-policy", policy, HOOKS)


def balance_in_force(method: str) -> None:
    """The same for a ``--load-balance-method`` of ours, the settings included.

    Raises:
        NotInForceError: as above.
    """
    try:
        settings = read_settings()
    except ValueError as error:
        raise NotInForceError(
            f"{FLAG} {method}: {error}\n`sagesched doctor` lists every setting."
        ) from None
    _require(settings, FLAG, method, (args_check.HOOK, *BALANCE_HOOKS))


def _require(settings: Settings, flag: str, value: str, hooks: Sequence[Hook]) -> None:
    version = sglang_version() or "unknown"
    if version not in SUPPORTED and not settings.allow_untested_sglang:
        raise NotInForceError(f"{flag} {value}: {advice(version)}")
    broken = [state for state in hook_states(hooks) if state.problem is not None]
    if broken:
        lines = [f"  {state.hook.target}: {state.problem}" for state in broken]
        raise NotInForceError(
            f"{flag} {value} cannot be in force, so the server stops.\n"
            f"sagesched {__version__} on SGLang {version}; hooks not in force:\n"
            + "\n".join(lines)
            + f"\nInstall a tested SGLang ({', '.join(SUPPORTED)}), or serve with another "
            f"{flag}. `sagesched doctor` shows every hook."
        )
