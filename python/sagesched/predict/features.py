"""What a prompt says about the length of its answer, beside its meaning: a fixed list of features.

Chosen on chat turns, not on the data that the predictor is judged by. No state, no training: each
is a number of about -1 to 1 from the text or from the request's own options, and which of them
matter the trend learns from the traffic.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sagesched.predict.base import Vectors, chars_of, sample_text
from sagesched.predict.token_ids import Content, TokenIds


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


WORDS = tuple(
    sorted(
        _words(
            "answer article best blog brief calculate can classify code compare convert "
            "create describe detailed difference do edit email essay example examples explain "
            "following function generate give guide how i identify is joke json letter list "
            "make me my name names one only outline output paragraph plan please poem python "
            "question recipe return review rewrite script sentence sentences short solve song "
            "step steps story summarize table tell text title translate true what when where "
            "which who why word words write you"
        )
    )
)
"""Whether each of them occurs."""

OPENINGS = (
    _words("what who when where which is are do does can did was"),
    _words("how why"),
    _words("write create generate compose make design develop"),
    _words("give list name provide suggest tell"),
)
"""A question of fact, of reasons, a text to be written, things to be named: by the first word."""

_WORD = re.compile(r"[a-z']+|\d+")
TERSE = _words("briefly short concise single one-word only brief")
LENGTHY = _words("detailed long comprehensive essay thorough article story guide plan")
_UNITS = {"word": 1.3, "character": 0.3, "sentence": 20.0, "line": 15.0, "paragraph": 90.0}
_OTHER_UNIT = 30.0
_COUNTABLE = _words(
    "word sentence line paragraph bullet step example item tip idea page character question point "
    "way reason"
)
_COUNTED = _COUNTABLE | {word + "s" for word in _COUNTABLE}
_NUMERALS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "ten": 10, "few": 3}

TYPICAL_LOG_CHARS = 5.0
CHARS_PER_TOKEN = 4

FORMAT = 1
"""Raise it when a text's row changes in any way: stored rows of another format are not compared."""


@dataclass(frozen=True)
class Options:
    """What a request asks of its answer.

    Attributes:
        max_new_tokens: its own limit; None where it has none.
        temperature: of sampling.
        structured: an answer in a JSON schema, a regular expression or a grammar.
        tools: tools are offered.
    """

    max_new_tokens: int | None = None
    temperature: float = 1.0
    structured: bool = False
    tools: bool = False


NO_OPTIONS = Options()
HIGHEST_LIMIT = 2**31 - 1
"""Tokens; a request with a higher limit has this one."""


def feature_rows(contents: Sequence[Content], options: list[Options] | None = None) -> Vectors:
    """float32[n, FEATURES]; the same prompt and options always give the same row."""
    asked = options or [NO_OPTIONS] * len(contents)
    rows = [[*_of_content(c), *_of_options(o)] for c, o in zip(contents, asked, strict=True)]
    return np.array(rows, dtype=np.float32).reshape(len(contents), FEATURES)


def log_chars(rows: Vectors) -> NDArray[np.float64]:
    """ln(1 + characters) of the prompts, [n], from their feature rows."""
    return 2.0 * rows[:, 0].astype(np.float64) + TYPICAL_LOG_CHARS


def _of_content(content: Content) -> Iterator[float]:
    return _of_ids(content) if isinstance(content, TokenIds) else _of_text(content)


def _of_ids(prompt: TokenIds) -> Iterator[float]:
    """The length, as if in characters; ids tell nothing else."""
    yield from _of_length(CHARS_PER_TOKEN * prompt.count)
    yield from [0.0] * (TEXT_FEATURES - 2)


def _of_length(chars: int) -> Iterator[float]:
    log_chars = math.log1p(chars) - TYPICAL_LOG_CHARS
    yield 0.5 * log_chars
    yield 0.2 * log_chars**2 - 0.5


def _of_text(text: str) -> Iterator[float]:
    yield from _of_length(chars_of(text))
    sample = sample_text(text)
    lower = sample.lower()
    words = _WORD.findall(lower)
    numbers = sum(map(str.isdecimal, words))
    present = set(words)
    yield 0.5 * (math.log1p(len(words)) - TYPICAL_LOG_CHARS + 1.6)
    yield 0.5 * math.log1p(sample.count("\n"))
    yield 0.5 * math.log1p(numbers)
    yield min(sum(map(len, words)) / len(words) - 4.5, 5.0) if words else 0.0
    yield 20.0 * sum(map(str.isupper, sample[:400])) / (min(len(sample), 400) + 1) - 1.0
    yield 10.0 * sample.count(",") / (len(words) + 1) - 0.5
    end = sample.rstrip()[-1:]
    for found in ("?" in sample, end == "?", end == ":", '"' in sample, ":" in sample):
        yield 2.0 * found - 0.5
    code = "```" in sample or "{" in sample or ";" in sample
    for found in (code, not TERSE.isdisjoint(present), not LENGTHY.isdisjoint(present)):
        yield 2.0 * found - 0.5
    yield from (0.0, 0.0) if _COUNTED.isdisjoint(present) else _requested(words)
    first = words[0] if words else ""
    for opening in OPENINGS:
        yield 2.0 * (first in opening) - 0.5
    for word in WORDS:
        yield 2.0 * (word in present)


def _requested(words: list[str]) -> tuple[float, float]:
    """Whether a length is asked for ("in 200 words", "five quick tips"), and its logarithm."""
    for at, word in enumerate(words):
        unit = word[:-1] if word[-1] == "s" else word
        if unit not in _COUNTABLE:
            continue
        for before in words[max(0, at - 2) : at]:
            number = int(before[:6]) if before.isdecimal() else _NUMERALS.get(before)
            if number:
                tokens = number * _UNITS.get(unit, _OTHER_UNIT)
                return 2.0, math.log1p(tokens) - TYPICAL_LOG_CHARS
    return 0.0, 0.0


def _of_options(options: Options) -> Iterator[float]:
    limit = options.max_new_tokens
    yield 0.0 if limit is None else 2.0
    yield 0.0 if limit is None else 0.5 * (math.log1p(max(0, limit)) - TYPICAL_LOG_CHARS)
    temperature = options.temperature
    yield min(max(temperature, 0.0), 2.0) - 1.0 if math.isfinite(temperature) else 0.0
    yield 2.0 * options.structured
    yield 2.0 * options.tools


TEXT_FEATURES = sum(1 for _ in _of_text(""))
FEATURES = sum(1 for _ in (*_of_text(""), *_of_options(NO_OPTIONS)))


def options_of(params: Mapping[str, object]) -> Options:
    """From a request's sampling parameters, in SGLang's or OpenAI's names; junk is left out."""
    structured = any(
        params.get(name)
        for name in ("json_schema", "regex", "ebnf", "structural_tag", "response_format")
    )
    return Options(
        _limit(params.get("max_new_tokens", params.get("max_tokens"))),
        _temperature(params.get("temperature")),
        structured,
        bool(params.get("tools")),
    )


def _limit(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return min(value, HIGHEST_LIMIT)


def _temperature(value: object) -> float:
    try:
        return float(value) if isinstance(value, (int, float)) else 1.0
    except OverflowError:  # JSON has integers of any length
        return 1.0
