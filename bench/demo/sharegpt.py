"""Real conversations as a workload: ShareGPT's JSON, JSON lines, and prompts with lengths."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .workload import Request, Workload

MAX_NEW_TOKENS = 2048
CONTEXT_MARGIN = 64
"""Tokens left free, since a cut prompt may come back from text to a few more tokens."""


class Tokenizer:
    """Counts and cuts text in the served model's tokens.

    Args:
        model: directory with ``tokenizer.json`` and ``config.json``.

    Raises:
        ValueError: one of them is missing.
    """

    def __init__(self, model: Path) -> None:
        from tokenizers import Tokenizer as Fast

        for name in ("tokenizer.json", "config.json"):
            if not (model / name).exists():
                raise ValueError(f"--workload sharegpt needs {name} in the model directory {model}")
        self._fast = Fast.from_file(str(model / "tokenizer.json"))
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        config = config.get("text_config", config)
        self.context: int = int(config["max_position_embeddings"])

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self._fast.encode(text).ids)

    def cut(self, text: str, tokens: int) -> str:
        """The beginning of a text that is not longer than ``tokens``."""
        ids = self._fast.encode(text).ids
        return text if len(ids) <= tokens else str(self._fast.decode(ids[:tokens]))


@dataclass(frozen=True)
class Turn:
    """A question with its real answer, or with the answer's length in tokens."""

    prompt: str
    answer: str | int


def read_turns(file: Path) -> list[Turn]:
    """Read a file of conversations, one request from each.

    Understands a JSON list or JSON lines, also gzipped, of
    ``{"conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}]}``, of
    which the first question with its answer is taken (a conversation without one is left out),
    and ``{"prompt": ..., "output_tokens": n}`` (left out with n = 0, or null: unknown).

    Raises:
        ValueError: naming the file, the line or the place in the list, and the reason.
    """
    turns = []
    for place, record in _records(file):
        try:
            turn = _turn(record)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
        if turn is not None:
            turns.append(turn)
    return turns


def share_gpt(
    file: Path, tokenizer: Tokenizer, *, seed: int, learn: int, requests: int
) -> Workload:
    """A workload of conversations from ``file``, drawn without repetition.

    Prompts are cut to what fits into the context beside the answer, and true lengths to
    ``MAX_NEW_TOKENS`` (or a quarter of a small context).

    Raises:
        ValueError: the file is malformed or has too few conversations.
    """
    turns = read_turns(file)
    if len(turns) < learn + requests:
        raise ValueError(
            f"{file}: {len(turns)} usable conversations, {learn} to learn from and {requests} to "
            "time are needed; lower --learn or --requests"
        )
    drawn = random.Random(f"{seed}:sharegpt").sample(turns, learn + requests)
    longest = min(MAX_NEW_TOKENS, tokenizer.context // 4)
    learned = {turn.prompt for turn in drawn[:learn]}
    made = [
        _request(t, tokenizer, longest, seen=i < learn or t.prompt in learned)
        for i, t in enumerate(drawn)
    ]
    return Workload(f"sharegpt {file.name}", tuple(made[:learn]), tuple(made[learn:]), longest)


def _request(turn: Turn, tokenizer: Tokenizer, longest: int, *, seen: bool) -> Request:
    prompt = tokenizer.cut(turn.prompt, tokenizer.context - longest - CONTEXT_MARGIN)
    tokens = turn.answer if isinstance(turn.answer, int) else tokenizer.count(turn.answer)
    return Request("sharegpt", prompt, min(max(tokens, 1), longest), seen)


def _records(file: Path) -> Iterator[tuple[str, Any]]:
    """(place, record) pairs of a file; the place is for error messages."""
    opener: Callable[..., Any] = gzip.open if file.suffix == ".gz" else open
    try:
        with opener(file, "rt", encoding="utf-8") as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise ValueError(f"{file}: cannot be read: {error}") from error
    if text.lstrip().startswith("["):
        records = _parse(text, str(file))
        yield from ((f"{file}, conversation {i}", r) for i, r in enumerate(records, start=1))
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            place = f"{file}, line {number}"
            yield place, _parse(line, place)


def _parse(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{place}: not JSON: {error}") from None


def _turn(record: Any) -> Turn | None:
    if not isinstance(record, dict):
        raise ValueError(f"expected an object, got {type(record).__name__}")
    if "conversations" in record:
        return _first_answered(record["conversations"])
    if "prompt" not in record or "output_tokens" not in record:
        raise ValueError('expected "conversations", or "prompt" and "output_tokens"')
    prompt, tokens = record["prompt"], record["output_tokens"]
    if not isinstance(prompt, str):
        raise ValueError(f'"prompt" must be text, got {type(prompt).__name__}')
    if tokens is None:
        return None
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0:
        raise ValueError(f'"output_tokens" must be a whole number of at least 0, got {tokens!r}')
    return Turn(prompt, tokens) if prompt.strip() and tokens else None


def _first_answered(messages: Any) -> Turn | None:
    """The first question with its answer; None if the conversation has none."""
    if not isinstance(messages, list):
        raise ValueError(f'"conversations" must be a list, got {type(messages).__name__}')
    for message in messages:
        fields = message if isinstance(message, dict) else {}
        if not isinstance(fields.get("from"), str) or not isinstance(fields.get("value"), str):
            raise ValueError('every message needs "from" and "value" as text')
    for question, answer in itertools.pairwise(messages):
        speakers = (question["from"], answer["from"])
        if speakers == ("human", "gpt") and question["value"].strip() and answer["value"].strip():
            return Turn(question["value"], answer["value"])
    return None
