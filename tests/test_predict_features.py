"""What a prompt says beside its meaning: ``sagesched.predict.features``."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagesched.predict.base import Excerpt
from sagesched.predict.features import (
    FEATURES,
    NO_OPTIONS,
    Options,
    feature_rows,
    log_chars,
    options_of,
)


@given(st.lists(st.text(st.characters(), max_size=300), max_size=4))
def test_any_text_has_finite_features(texts: list[str]) -> None:
    rows = feature_rows(texts)
    assert rows.shape == (len(texts), FEATURES)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    assert (np.abs(rows) <= 20).all()


@pytest.mark.parametrize("text", ["", " " * 1000, "\x00\ud800", "x" * 1_000_000, "é漢字😀" * 100])
def test_absurd_texts(text: str) -> None:
    assert np.isfinite(feature_rows([text])).all()


def test_a_row_does_not_depend_on_the_others() -> None:
    texts = ["List 3 tips.", "", "Why is the sky blue?"]
    together = feature_rows(texts)
    assert all(
        np.array_equal(feature_rows([t])[0], row) for t, row in zip(texts, together, strict=True)
    )


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("Write 2 sentences about cats.", "Write 20 sentences about cats."),
        ("An essay of 50 words on rain.", "An essay of 2000 words on rain."),
        ("Give one tip.", "Give ten tips."),
    ],
)
def test_a_length_that_is_asked_for_shows(short: str, long: str) -> None:
    a, b = feature_rows([short, long])
    asked = [k for k in range(FEATURES) if b[k] > a[k] + 0.5]
    assert asked, "some feature grows with the length asked for"


def test_options_show_and_junk_does_not() -> None:
    plain = feature_rows(["hi"])[0]
    for options in (
        Options(max_new_tokens=50), Options(temperature=0.0), Options(structured=True),
        Options(tools=True),
    ):  # fmt: skip
        assert not np.array_equal(feature_rows(["hi"], [options])[0], plain)
    assert options_of({}) == NO_OPTIONS
    assert options_of({"max_tokens": "many", "temperature": None}) == NO_OPTIONS
    assert options_of(
        {"max_new_tokens": 7, "temperature": 0, "json_schema": "{}", "tools": [1]}
    ) == (Options(7, 0.0, True, True))
    assert np.isfinite(feature_rows(["hi"], [Options(10**30, float("nan"))])).all()


def test_an_excerpt_is_as_long_as_its_prompt() -> None:
    whole = "word " * 1000
    excerpt = Excerpt.of(whole[:640], len(whole))
    assert log_chars(feature_rows([excerpt])) == pytest.approx(log_chars(feature_rows([whole])))
    assert log_chars(feature_rows([whole[:640]])) < log_chars(feature_rows([whole]))
