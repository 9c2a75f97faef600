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
    """Whether a chooser of that name looks at predicted lengths.

    Raises:
        ValueError: there is none.
    """
    return _kind(name).reads_predictions


def _kind(name: str) -> type[Chooser]:
    if name not in _KINDS:
        raise ValueError(f"unknown chooser {name!r}; choose from {', '.join(_KINDS)}")
    return _KINDS[name]


def make_chooser(name: str, replicas: int, *, seed: int = 0, **constants: Any) -> Chooser:
    """A fresh chooser.

    Args:
        name: one of `chooser_names`.
        replicas: how many there are.
        seed: of those that draw at random.
        constants: its keyword arguments; those of sal are the attributes of `SalConstants`, and
            ``answers=False`` for a caller that never says `finished`.

    Raises:
        ValueError: an unknown name or constant, a value that makes no sense, or fewer than one
            replica.
    """
    kind: Callable[..., Chooser] = _kind(name)
    arguments = dict(constants)
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
