"""What a request's body tells before it is tokenized: length, prefix, text, limits.

Bodies of SGLang's native and OpenAI routes, as dicts or as objects with the same names (Ray Serve
LLM passes pydantic models). Nothing is checked here: the engine says what is wrong with a body.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sagesched.balance import Query

BYTES_PER_TOKEN = 4.0
"""Of English text under a vocabulary of 32,000 to 256,000; of other text there are fewer."""

MOST = 2**53
"""A larger number is no limit."""


@dataclass(frozen=True)
class Asked:
    """A request, as far as its body tells.

    Attributes:
        prompt_tokens: counted where the body has token ids, else estimated from the text's bytes.
        text: all text of the prompt, without what a chat template adds.
        ids: token ids, where the body has them.
        one_answer: one prompt, and one answer to it (no ``n`` or ``best_of`` but 1), so that a
            count of output tokens is the length of that answer, and no sum.
    """

    prompt_tokens: int
    text: str
    ids: Sequence[int]
    one_answer: bool
    model: str
    max_new_tokens: int | None
    temperature: float | None
    structured: bool
    tools: bool

    def query(self, key: str, expected: float | None = None, high: float | None = None) -> Query:
        """What the chooser is asked."""
        prefix = self.ids or self.text.encode("utf-8", "replace")
        return Query(key, self.prompt_tokens, prefix, expected, high)


def read_body(body: Any, bytes_per_token: float = BYTES_PER_TOKEN) -> Asked:
    """Read a body; what cannot be understood counts as empty."""
    sampling = _get(body, "sampling_params")
    prompts = list(_prompts(body))
    text = "\n".join(part for part in prompts if isinstance(part, str))
    ids = array("q")
    for part in prompts:
        if not isinstance(part, str):
            ids.extend(part)
    size = len(text.encode("utf-8", "replace"))
    limits = [
        _get(sampling, "max_new_tokens"),
        _get(body, "max_completion_tokens"),
        _get(body, "max_tokens"),
    ]
    temperatures = [_get(sampling, "temperature"), _get(body, "temperature")]
    return Asked(
        prompt_tokens=len(ids) + math.ceil(size / bytes_per_token),
        text=text,
        ids=ids,
        one_answer=len(prompts) <= 1 and _one_each(body, sampling),
        model=str(_get(body, "model") or ""),
        max_new_tokens=next((n for n in limits if _is_number(n) and n >= 1), None),
        temperature=next((t for t in temperatures if _is_number(t) and t >= 0), None),
        structured=_structured(sampling) or _structured(body),
        tools=bool(_get(body, "tools")),
    )


def _prompts(body: Any) -> Iterator[str | array[int]]:
    messages = _get(body, "messages")
    if isinstance(messages, list):
        yield "\n".join(part for message in messages for part in _content(message))
        return
    for name in ("input_ids", "text", "prompt", "input"):
        value = _get(body, name)
        if isinstance(value, list) and value and isinstance(value[0], (str, list)):
            yield from filter(None, map(_one_prompt, value))
        elif (prompt := _one_prompt(value)) is not None:
            yield prompt
        if value:
            return


def _one_prompt(value: Any) -> str | array[int] | None:
    """Text or token ids; anything else is for the engine to refuse."""
    if isinstance(value, str):
        return value
    try:
        return array("q", value) if isinstance(value, list) and value else None
    except (TypeError, OverflowError):
        return None


def _content(message: Any) -> Iterator[str]:
    """The texts of a chat message; images and other parts are not counted."""
    content = _get(message, "content")
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if isinstance(text := _get(part, "text"), str):
                yield text


def _one_each(body: Any, sampling: Any) -> bool:
    """Whether each prompt gets one answer. The engine takes "4" for 4, so only 1 counts as 1."""
    options = [body, *(sampling if isinstance(sampling, list) else [sampling])]
    return all(_get(one, name) in (None, 1) for one in options for name in ("n", "best_of"))


def _structured(options: Any) -> bool:
    names = ("json_schema", "regex", "ebnf", "structural_tag")
    if any(_get(options, name) for name in names):
        return True
    wanted = _get(options, "response_format")
    return wanted is not None and _get(wanted, "type") not in (None, "text")


def _is_number(value: Any) -> bool:
    is_one = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_one and -MOST <= value <= MOST


def _get(body: Any, name: str) -> Any:
    return body.get(name) if isinstance(body, Mapping) else getattr(body, name, None)
