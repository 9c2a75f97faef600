"""One line of a data file: a prompt and how long its answers were."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sagesched.predict.features import NO_OPTIONS, Options, options_of
from sagesched.replay.readers import fields

EXAMPLE = '{"prompt": "Why is the sky blue?", "output_tokens": 180, "model": "qwen3-32b"}'

Object = fields.Object


@dataclass(frozen=True, slots=True)
class Row:
    """One request and its outcome.

    Attributes:
        prompt: its text.
        tokens: of the output.
        finished: whether the output ended by itself.
        group, tenant: "" where unknown.
        options: what it asked of its answer.
        arrival_s, finish_s: seconds of the file's own clock; None where unknown.
    """

    prompt: str
    tokens: int
    finished: bool = True
    group: str = ""
    tenant: str = ""
    options: Options = NO_OPTIONS
    arrival_s: float | None = None
    finish_s: float | None = None


def rows_of(line: Object) -> Iterator[Row]:
    """A row for each length that the line has; those that are null or 0 tell nothing.

    Raises:
        ValueError: a field is missing or makes no sense.
    """
    prompt = _prompt(line)
    options = _options(line)
    arrival_s = _seconds(line, "arrival_s", "timestamp_ms")
    finish_s = _finish(line, arrival_s)
    group = _name(line, "group") or _name(line, "model")
    ended = line.get("finished", True)
    if not isinstance(ended, bool):
        raise ValueError(f'"finished" must be true or false, got {fields.kind(ended)}')
    for name, tokens in _lengths(line):
        if not tokens:
            continue
        limit = math.inf if options.max_new_tokens is None else options.max_new_tokens
        if tokens > limit:
            raise ValueError(f'"output_tokens" is {tokens}, more than "max_new_tokens" {limit}')
        yield Row(prompt, tokens, ended and tokens < limit, name or group, _name(line, "tenant"),
                  options, arrival_s, finish_s)  # fmt: skip


def _prompt(line: Object) -> str:
    if "prompt" not in line and "prompt_id" in line:
        return f"Prompt {line['prompt_id']}."
    if "prompt" not in line:
        raise ValueError('"prompt" is missing')
    return fields.text(line, "prompt")


def _lengths(line: Object) -> Iterator[tuple[str, int | None]]:
    """(model, tokens) of a number, of several answers in a list, or of several models."""
    value = line.get("output_tokens", ...)
    many: list[tuple[str, Any]]
    if isinstance(value, dict):
        many = [(fields.well_formed(name), each) for name, each in value.items()]
    elif isinstance(value, list):
        many = [("", each) for each in value]
    else:
        yield "", None if value is None else fields.whole(line, "output_tokens", least=0)
        return
    for name, each in many:
        yield name, None if each is None else fields.whole({"output_tokens": each},
                                                           "output_tokens", least=0)  # fmt: skip


def _options(line: Object) -> Options:
    for name in ("max_new_tokens", "max_tokens"):
        if line.get(name) is not None:
            fields.whole(line, name)
    if line.get("temperature") is not None:
        fields.number(line, "temperature", least=0.0)
    return options_of(line)


def _seconds(line: Object, seconds: str, milliseconds: str) -> float | None:
    if line.get(seconds) is not None:
        return fields.number(line, seconds)
    if line.get(milliseconds) is not None:
        return fields.number(line, milliseconds) / 1e3
    return None


def _finish(line: Object, arrival_s: float | None) -> float | None:
    finish_s = _seconds(line, "finish_s", "finish_ms")
    latency_s = _seconds(line, "latency_s", "latency_ms")
    if finish_s is None and (latency_s is None or arrival_s is None):
        return None
    if finish_s is None:
        finish_s = arrival_s + latency_s  # type: ignore[operator]
    if arrival_s is not None and finish_s < arrival_s:
        raise ValueError(f"it ends {arrival_s - finish_s:g} s before it arrives")
    return finish_s


def _name(line: Object, field: str) -> str:
    return fields.text(line, field) if line.get(field) is not None else ""
