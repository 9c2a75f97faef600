"""Values out of a JSON object or a CSV row, checked; every error is a reason for the reader."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

LONGEST = 10_000_000
"""Tokens; a prompt or an output said to be longer is a mistake in the file."""

Object = Mapping[str, Any]


def json_object(text: str) -> dict[str, Any]:
    """Parse a line.

    Raises:
        ValueError: not JSON (NaN and Infinity are not), or not an object.
    """
    value = json_value(text)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {kind(value)}")
    return value


def json_value(text: str) -> Any:
    """Parse JSON.

    Raises:
        ValueError: it is none; NaN and Infinity are none.
    """
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None


def kind(value: object) -> str:
    """What a JSON value is, in a reader's words."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")


def whole(record: Object, name: str, *, least: int = 1, most: int = LONGEST) -> int:
    """A whole number, such as a number of tokens.

    Raises:
        ValueError: missing, of another kind, or out of range.
    """
    value = _required(record, name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f'"{name}" must be a whole number, got {_shown(value)}')
    if not least <= value <= most:
        raise ValueError(f'"{name}" must be {least} to {most}, got {value}')
    return value


def number(record: Object, name: str, *, least: float = -math.inf) -> float:
    """A finite number.

    Raises:
        ValueError: missing, of another kind, not finite, or below ``least``.
    """
    value = _required(record, name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f'"{name}" must be a number, got {_shown(value)}')
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not (math.isfinite(result) and result >= least):
        raise ValueError(f'"{name}" must be finite and at least {least:g}, got {_shown(value)}')
    return result


def text(record: Object, name: str, default: str | None = None) -> str:
    """A text; half a surrogate pair in it, which no tokenizer takes, becomes a question mark.

    Raises:
        ValueError: missing without a default, or of another kind.
    """
    value = record.get(name, default)
    if not isinstance(value, str):
        raise ValueError(f'"{name}" must be text, got {_shown(value)}')
    return well_formed(value)


def well_formed(value: str) -> str:
    """A text with a question mark for half a surrogate pair."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def sequence(record: Object, name: str) -> list[Any]:
    """A list.

    Raises:
        ValueError: missing or of another kind.
    """
    value = _required(record, name)
    if not isinstance(value, list):
        raise ValueError(f'"{name}" must be a list, got {_shown(value)}')
    return value


def block_names(record: Object, name: str) -> tuple[str, ...]:
    """Names of shared blocks: whole numbers or texts.

    Raises:
        ValueError: something else.
    """
    values = sequence(record, name)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise ValueError(f'"{name}" must hold whole numbers or texts, got {_shown(value)}')
    return tuple(map(str, values))


def _required(record: Object, name: str) -> Any:
    if name not in record:
        raise ValueError(f'"{name}" is missing')
    return record[name]


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _refuse(constant: str) -> float:
    raise ValueError(f"not JSON: {constant} is no number")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
