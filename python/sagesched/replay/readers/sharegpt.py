"""ShareGPT conversations, and JSON lines of single turns with their token counts.

A conversation is a JSON object with ``conversations`` (``from`` and ``value``) or ``messages``
(``role`` and ``content``), in a JSON list or one per line; every answered question is a request,
its prompt all that was said before, so that later turns share the prefix of earlier ones. A turn
is an object with ``prompt`` and/or ``prompt_tokens``, ``output_tokens`` and perhaps
``timestamp_ms``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sagesched.replay.prompts import Prompt, tokens_of_text
from sagesched.replay.readers.base import Format, Head, Record, Tally, lines, parsed
from sagesched.replay.readers.fields import Object, json_object, kind, number, sequence, text, whole
from sagesched.replay.trace import TraceError

_ASKING = {"human", "user"}
_ANSWERING = {"gpt", "assistant", "chatgpt", "bing", "bard"}
_DECODER = json.JSONDecoder()


def _recognises(head: Head) -> bool:
    first = head.first
    turn = "timestamp_ms" in first and "output_tokens" in first
    return turn or "conversations" in first or "messages" in first or _is_list(head)


def _is_list(head: Head) -> bool:
    """Whether the file begins as a JSON list of objects; a log begins with a bracket too."""
    start = "".join(line.strip() for line in head.lines[:2])
    return start[:1] == "[" and start[1:].lstrip()[:1] in ("{", "]")


def read(file: Path, tally: Tally) -> Iterator[Record]:
    """Every answered question.

    Raises:
        TraceError: a malformed line or conversation.
    """
    first = next(lines(file, tally.peeking()), (1, ""))[1]
    if first.lstrip().startswith("["):
        return _of_list(file, tally)

    def parse(line_number: int, line: str) -> Iterator[Record]:
        key, place = f"{file.name}:{line_number}", f"line {line_number}"
        return _of_object(key, place, json_object(line), tally)

    return parsed(file, parse, tally)


def _of_list(file: Path, tally: Tally) -> Iterator[Record]:
    """Of a file that is one JSON list: it is read as a whole."""
    content = file_text(file)
    for index, (line, value) in enumerate(_items(file, content), 1):
        place = f"line {line} (conversation {index})"
        try:
            if not isinstance(value, dict):
                raise ValueError(f"expected a JSON object, got {kind(value)}")
            records = list(_of_object(f"{file.name}:{index}", place, value, tally))
        except ValueError as error:
            tally.bad(file, line, error, place)
        else:
            yield from records


def file_text(file: Path) -> str:
    """A file's whole text; empty lines are in it, so that an offset tells the line."""
    rows: list[str] = []
    for line_number, line in lines(file):
        rows.extend([""] * (line_number - len(rows) - 1))
        rows.append(line)
    return "\n".join(rows)


def _items(file: Path, content: str) -> Iterator[tuple[int, Any]]:
    """(line, value) of each item of a JSON list, one at a time."""
    at = _skip(content, content.index("[") + 1)
    line, counted = 1, 0
    while not content.startswith("]", at):
        line, counted = line + content.count("\n", counted, at), at
        try:
            value, at = _DECODER.raw_decode(content, at)
        except (json.JSONDecodeError, RecursionError) as error:
            raise TraceError(f"{file}, line {line}: not JSON: {error}") from None
        yield line, value
        at = _skip(content, at)
        if content.startswith(",", at):
            at = _skip(content, at + 1)
        elif not content.startswith("]", at):
            line += content.count("\n", counted, at)
            raise TraceError(f"{file}, line {line}: not JSON: the list does not go on or end")
    if _skip(content, at + 1) < len(content):
        line += content.count("\n", counted, at)
        raise TraceError(f"{file}, line {line}: not JSON: there is more after the list")


def _skip(content: str, at: int) -> int:
    """The next position that is not white space."""
    while at < len(content) and content[at].isspace():
        at += 1
    return at


def _of_object(key: str, place: str, value: Object, tally: Tally) -> Iterator[Record]:
    for field, names in (("conversations", ("from", "value")), ("messages", ("role", "content"))):
        if field in value:
            messages = [_message(each, *names) for each in sequence(value, field)]
            return _of_conversation(key, place, messages, tally)
    if "prompt" in value or "prompt_tokens" in value:
        return _of_turn(key, place, value, tally)
    raise ValueError('expected "conversations", "messages", or "prompt" with "output_tokens"')


def _message(value: object, who: str, what: str) -> tuple[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"expected messages that are objects, got {kind(value)}")
    return text(value, who), text(value, what)


def _of_conversation(
    key: str, place: str, messages: list[tuple[str, str]], tally: Tally
) -> Iterator[Record]:
    tally.remark(
        "the file has no token counts: a token is taken to be 4 bytes of text, of prompts and "
        "answers"
    )
    contents = tuple(what for _, what in messages)
    turn = alone = 0
    for index, (who, answer) in enumerate(messages):
        if who not in _ANSWERING:
            continue
        if index == 0 or messages[index - 1][0] not in _ASKING:
            alone += 1
            continue
        turn += 1
        if not contents[index - 1] or not answer:
            tally.count("turns with an empty question or answer, left out")
            continue
        prompt = Prompt(f"{key}:{turn}", pieces=contents[:index])
        yield Record(place, prompt, tokens_of_text(answer))
    if alone:
        tally.count("answers without a question before them, left out", alone)
    if not turn:
        tally.count("conversations without an answered question, left out")


def _of_turn(key: str, place: str, value: Object, tally: Tally) -> Iterator[Record]:
    if value.get("output_tokens", 0) is None or value.get("prompt_tokens", 0) is None:
        tally.count("requests without a token count (null), left out")
        return
    prompt = text(value, "prompt", "")
    tokens = whole(value, "prompt_tokens") if "prompt_tokens" in value else None
    if tokens is None and not prompt:
        raise ValueError('"prompt" is empty and "prompt_tokens" is missing')
    seconds = number(value, "timestamp_ms") / 1e3 if "timestamp_ms" in value else None
    pieces = (prompt,) if prompt else ()
    yield Record(place, Prompt(key, tokens, pieces), whole(value, "output_tokens"), seconds)


FORMAT = Format(
    "sharegpt",
    "JSON with conversations of human and gpt, or JSON lines with prompt, prompt_tokens, "
    "output_tokens, timestamp_ms",
    _recognises,
    read,
)
