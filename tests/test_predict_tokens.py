"""Our encoder gives the tokens that the tokenizer gives, or is not used."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagesched import _core
from sagesched.predict import sample_text
from sagesched.predict.tokens import Tokens, tokens_by

tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")

any_text = st.text(max_size=300)
prompts = st.lists(
    st.sampled_from(
        [
            "the",
            " ",
            "  ",
            "\n",
            "\u2581",
            "Write",
            "an",
            "email",
            "<s>",
            "</s>",
            "<0x0A>",
            "\u65e5",
            "\u00e9",
            "\U0001f999",
        ]
    )
    | st.text(max_size=4),
    max_size=60,
).map("".join)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    pytest.importorskip("wordllama", reason="wordllama is not installed")
    from sagesched.predict.wordllama import _load_offline

    return _load_offline().tokenizer


@pytest.fixture(scope="module")
def encode(tokenizer: Any) -> Callable[[str], Tokens]:
    found = tokens_by(tokenizer)
    assert isinstance(found.__self__, _core.BytePairs)
    return found


def reference(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids
    return ids


@settings(deadline=None, max_examples=500)
@given(text=any_text | prompts)
def test_same_tokens_as_the_tokenizer(
    tokenizer: Any, encode: Callable[[str], Tokens], text: str
) -> None:
    sample = sample_text(text)
    assert encode(sample).tolist() == reference(tokenizer, sample)


@pytest.mark.parametrize("text", ["a" * 640, "ab" * 320, "\u65e5" * 640, "the" * 200, " " * 640])
def test_same_tokens_of_long_words(
    tokenizer: Any, encode: Callable[[str], Tokens], text: str
) -> None:
    assert encode(text).tolist() == reference(tokenizer, text)


OTHER_KINDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "cut before the merges": lambda about: about.update(
        pre_tokenizer={"type": "Split", "pattern": {"String": "a"}, "behavior": "Isolated",
                       "invert": False}
    ),
    "no space put before": lambda about: about["normalizer"]["normalizers"].pop(0),
    "words that are tokens are not merged": lambda about: about["model"].update(ignore_merges=True),
    "no tokens of bytes": lambda about: about["model"]["vocab"].pop("<0xFF>"),
    "a space within a token": lambda about: (
        about["model"]["vocab"].update({"a\u2581": 32_000}),
        about["model"]["merges"].insert(0, ["a", "\u2581"]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", OTHER_KINDS.values(), ids=OTHER_KINDS.keys())
def test_other_kinds_are_left_to_the_tokenizer(
    tokenizer: Any, change: Callable[[dict[str, Any]], object]
) -> None:
    about = json.loads(tokenizer.to_str())
    change(about)
    other = tokenizers.Tokenizer.from_str(json.dumps(about))
    text = "What a day at the sea \u00e9\U0001f999"
    assert tokens_by(other)(text).tolist() == reference(other, text)


def test_strange_arguments_are_errors(encode: Callable[[str], Tokens]) -> None:
    with pytest.raises(TypeError):
        encode("\ud800")
    with pytest.raises(TypeError, match="__init__"):
        _core.BytePairs.__new__(_core.BytePairs).encode("a")
    with pytest.raises(ValueError, match="three columns"):
        _core.BytePairs([(0x2581, 0)], list(range(256)), np.zeros((1, 2), dtype=np.int32))
