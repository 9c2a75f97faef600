"""Single flags of ``sagesched replay``: from text to checked values.

Each raises a ``ValueError`` that names the flag and what is valid.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sagesched.replay.policies.base import Policy


def names(flag: str, text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ValueError(f"{flag}: no name given")
    return list(dict.fromkeys(names))


def one_of(flag: str, name: str, valid: Sequence[str]) -> str:
    if name not in valid:
        raise ValueError(f"{flag}: unknown {name!r}; choose from {', '.join(valid)}")
    return name


def loads(text: str) -> tuple[float, ...]:
    loads = []
    for part in text.split(",") if text else []:
        try:
            load = float(part)
        except ValueError:
            load = math.nan
        if not 0 < load < math.inf:
            raise ValueError(f"--load: {part.strip()!r} is not a number above 0, such as 0.8,1.1")
        loads.append(load)
    return tuple(dict.fromkeys(loads))


def policy_settings(
    assignments: Sequence[str], policies: Mapping[str, type[Policy]]
) -> dict[str, tuple[tuple[str, float], ...]]:
    """``KEY=VALUE`` goes to every policy that has the key, ``POLICY.KEY=VALUE`` to one."""
    chosen: dict[str, dict[str, float]] = {name: {} for name in policies}
    valid = [f"{name}.{key}" for name in policies for key in policies[name].settings]
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        targets = [full for full in valid if key in (full, full.partition(".")[2])]
        if not equals or not targets:
            choices = ", ".join(valid) or "the chosen policies have none"
            raise ValueError(f"--set {assignment}: expected KEY=VALUE; keys: {choices}")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isnan(value):
            raise ValueError(f"--set {assignment}: {text!r} is not a number")
        for full in targets:
            name, _, short = full.partition(".")
            chosen[name][short] = value
    for name, values in chosen.items():
        policies[name].check_settings(values)
    return {name: tuple(sorted(values.items())) for name, values in chosen.items()}


def at_least(least: int, given: Mapping[str, Any], name: str) -> int:
    value: int = given[name]
    if value < least:
        raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")
    return value


def jobs(given: Mapping[str, Any]) -> int:
    if given["jobs"] is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return at_least(1, given, "jobs")


def writable(name: str, text: str | Path | None) -> Path | None:
    if not text:
        return None
    file = Path(text)
    there = file.exists()
    try:
        file.open("ab").close()  # now, and not after an hour of runs
    except OSError as error:
        raise ValueError(
            f"--{name}: cannot write {text} ({error.strerror}); name a file in an existing folder"
        ) from None
    if not there:
        file.unlink()
    return file
