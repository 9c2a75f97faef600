"""What can be changed at run time, as it travels: numbers by name, in SGLang's own request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sagesched.plugin.settings import LARRY, POLICY, PURE_FROM, STOCK, as_dial

OURS = "sagesched_"
DIAL_KEY = "sagesched_dial"
POLICY_KEY = "sagesched_gittins"
LARRY_KEY = "sagesched_larry"
NAMES = {POLICY_KEY: POLICY, LARRY_KEY: LARRY}


class ControlError(ValueError):
    """A change that cannot be made; the message says why."""


@dataclass(frozen=True)
class Change:
    """What is to be changed; None stays as it is.

    Attributes:
        in_force: whether our order is applied; otherwise the queue is stock's.
        dial: how far the index may move a request.
        policy: whose order is to be applied, where ``in_force``; the server must have it.
    """

    in_force: bool | None = None
    dial: float | None = None
    policy: str = POLICY


def read_change(values: Mapping[str, Any]) -> Change:
    """From SGLang's request.

    Raises:
        ControlError: an unknown name, one of SGLang's beside ours, or a value out of range.
    """
    if strange := sorted(set(values) - {DIAL_KEY, *NAMES}):
        raise ControlError(
            f"{', '.join(map(repr, strange))}: expected {DIAL_KEY}, {POLICY_KEY} and {LARRY_KEY} "
            "only; SGLang's own settings go into a request of their own"
        )
    key = LARRY_KEY if LARRY_KEY in values else POLICY_KEY
    if all(name in values for name in NAMES):
        raise ControlError(f"{POLICY_KEY} and {LARRY_KEY}: expected one of them")
    policy = values.get(key)
    if policy is not None and (isinstance(policy, (bool, str)) or policy not in (0, 1)):
        raise ControlError(f"{key}={policy!r}: expected 1 ({NAMES[key]}) or 0 ({STOCK})")
    dial = values.get(DIAL_KEY)
    if dial is not None:
        if isinstance(dial, bool) or not isinstance(dial, (int, float)) or not dial >= 0:
            raise ControlError(
                f"{DIAL_KEY}={dial!r}: expected a number of at least 0; {PURE_FROM:g} and more is "
                "the pure Gittins order"
            )
        dial = as_dial(float(dial))
    return Change(None if policy is None else bool(policy), dial, NAMES[key])


def as_values(change: Change) -> dict[str, float]:
    """As SGLang's request takes it; `read_change` reads it."""
    values: dict[str, float] = {}
    if change.in_force is not None:
        key = LARRY_KEY if change.policy == LARRY else POLICY_KEY
        values[key] = int(change.in_force)
    if change.dial is not None:
        values[DIAL_KEY] = min(change.dial, PURE_FROM)
    return values
