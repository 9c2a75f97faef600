"""Choosers by their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from sagesched.balance.at_random import PowerOfTwo, Random
from sagesched.balance.base import Chooser
from sagesched.balance.cache_aware import CacheAware
from sagesched.balance.checks import check_flag
from sagesched.balance.least_work import Oracle, OracleStart, ShortestPredicted
from sagesched.balance.round_robin import RoundRobin
from sagesched.balance.sal import Sal, SalConstants, SalPrompt
from sagesched.balance.totals import TotalRequests, TotalTokens

_KINDS: dict[str, type[Chooser]] = {
    kind.name: kind
    for kind in (
        Sal, SalPrompt, RoundRobin, Random, PowerOfTwo, TotalRequests, TotalTokens, CacheAware,
        ShortestPredicted, Oracle, OracleStart,
    )
}  # fmt: skip
_SEEDED = (Random, PowerOfTwo)
_SAL_NAMES = frozenset(field.name for field in fields(SalConstants))


def chooser_names() -> list[str]:
    """What `make_chooser` knows."""
    return list(_KINDS)


def reads_predictions(name: str) -> bool:
    """Whether a chooser of that name, or spec, looks at predicted lengths.

    Raises:
        ValueError: there is none.
    """
    return _kind(name.partition(":")[0]).reads_predictions


def read_spec(spec: str) -> tuple[str, dict[str, Any]]:
    """A chooser and its constants from text: ``NAME``, or ``NAME:KEY=VALUE:KEY=VALUE``.

    Raises:
        ValueError: no such chooser or constant, or a value that makes no sense.
    """
    name, *parts = spec.split(":")
    constants = dict(_assigned(spec, part) for part in parts)
    if issubclass(_kind(name), Oracle):
        if constants:
            raise ValueError(f"{spec}: chooser {name} has no constants")
    else:
        make_chooser(name, 1, **constants)
    return name, constants


def _assigned(spec: str, part: str) -> tuple[str, Any]:
    key, _, text = part.partition("=")
    if key == "answers" and text in ("0", "1"):
        return key, text == "1"
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{spec}: expected NAME:KEY=NUMBER, got {part!r}") from None
    return key, int(number) if number.is_integer() else number


def _kind(name: str) -> type[Chooser]:
    if name not in _KINDS:
        raise ValueError(f"unknown chooser {name!r}; choose from {', '.join(_KINDS)}")
    return _KINDS[name]


def make_chooser(spec: str, replicas: int, *, seed: int = 0, **constants: Any) -> Chooser:
    """A fresh chooser.

    Args:
        spec: one of `chooser_names`, perhaps with constants behind it, see `read_spec`.
        replicas: how many there are.
        seed: of those that draw at random.
        constants: its keyword arguments; those of sal are the attributes of `SalConstants`, and
            ``answers=False`` for a caller that never says `finished`.

    Raises:
        ValueError: an unknown name or constant, a value that makes no sense, or fewer than one
            replica.
    """
    name, given = read_spec(spec) if ":" in spec else (spec, {})
    kind: Callable[..., Chooser] = _kind(name)
    arguments = given | constants
    check_flag("answers", arguments.get("answers", True))
    if kind in _SEEDED:
        arguments["seed"] = seed
    if kind in (Sal, SalPrompt):
        own = {key: arguments.pop(key) for key in list(arguments) if key in _SAL_NAMES}
        try:
            arguments["constants"] = SalConstants(**own)
        except ValueError as error:
            raise ValueError(f"chooser {name}: {error}") from None
    if kind in (RoundRobin, Random, TotalRequests, TotalTokens, Oracle, OracleStart):
        arguments.pop("answers", None)  # they do not depend on it
    try:
        return kind(replicas, **arguments)
    except TypeError as error:
        raise ValueError(f"chooser {name}: {error}") from None
