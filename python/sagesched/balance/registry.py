"""Choosers by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from sagesched.balance.at_random import PowerOfTwo, Random
from sagesched.balance.base import Chooser
from sagesched.balance.cache_aware import CacheAware
from sagesched.balance.checks import check_flag, check_seed
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
_OF_SAL = tuple(field.name for field in fields(SalConstants))
_OWN: dict[type[Chooser], tuple[str, ...]] = {
    Sal: _OF_SAL,
    SalPrompt: _OF_SAL,
    Random: ("seed",),
    PowerOfTwo: ("seed",),
    CacheAware: ("threshold", "imbalance", "ratio", "tree_blocks"),
    Oracle: ("truth", "tree_blocks"),
    OracleStart: ("truth", "tree_blocks"),
}
"""What can be given beside ``answers``, which all take."""
_HEARS_NO_ENDS = (RoundRobin, Random, TotalRequests, TotalTokens, Oracle, OracleStart)
"""Those that do not depend on ``answers``."""


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
    kind = _kind(name)
    constants: dict[str, Any] = {}
    for key, value in (_assigned(spec, part) for part in parts):
        if key in constants:
            raise ValueError(f"{spec}: {key} is said twice")
        constants[key] = value
    if issubclass(kind, Oracle):
        if constants:
            raise ValueError(f"{spec}: chooser {name} has no constants")
    else:
        _made(kind, 1, constants)
    return name, constants


def _assigned(spec: str, part: str) -> tuple[str, Any]:
    key, _, text = part.partition("=")
    if key == "answers":
        if text not in ("0", "1"):
            raise ValueError(f"{spec}: answers = {text!r}: expected 0 or 1")
        return key, text == "1"
    try:
        return key, int(text)  # a seed may have more digits than a float
    except ValueError:
        pass
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
        seed: of those that draw at random, unless the name has one behind it.
        constants: its keyword arguments; those of sal are the attributes of `SalConstants`, and
            ``answers=False`` for a caller that never says `finished`.

    Raises:
        ValueError: an unknown name or constant, a value that makes no sense, or fewer than one
            replica.
    """
    return chooser_with(spec, replicas, seed, constants)


def chooser_with(spec: str, replicas: int, seed: int, constants: Mapping[str, Any]) -> Chooser:
    """As `make_chooser`, of constants that may have any names."""
    name, given = read_spec(spec)
    kind = _kind(name)
    seeded = {"seed": seed} if kind in _SEEDED else {}
    return _made(kind, replicas, {**seeded, **given, **constants})


def _made(kind: type[Chooser], replicas: int, constants: Mapping[str, Any]) -> Chooser:
    valid = (*_OWN.get(kind, ()), "answers")
    unknown = [key for key in constants if key not in valid]
    if unknown:
        said = f"unknown constant {unknown[0]!r}; choose from {', '.join(valid)}"
        raise ValueError(f"chooser {kind.name}: {said}")
    arguments = dict(constants)
    make: Callable[..., Chooser] = kind
    try:
        check_flag("answers", arguments.get("answers", True))
        check_seed("seed", arguments.get("seed", 0))
        if kind in (Sal, SalPrompt):
            own = {key: arguments.pop(key) for key in _OF_SAL if key in arguments}
            arguments["constants"] = SalConstants(**own)
    except ValueError as error:
        raise ValueError(f"chooser {kind.name}: {error}") from None
    if kind in _HEARS_NO_ENDS:
        arguments.pop("answers", None)
    return make(replicas, **arguments)
