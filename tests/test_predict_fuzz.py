"""Whatever prompts, options, names and lengths come: the predictor answers with a distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagesched.lengths import LengthGrid
from sagesched.predict import LengthPredictor, make_embedder
from sagesched.predict.features import Options

ANY_CHARACTER = st.characters()  # control characters and lone surrogates, too
TEXTS = st.one_of(
    st.text(ANY_CHARACTER, max_size=400),
    st.sampled_from(
        ["", " \t\n" * 50, "\x00", "\ud800\udfff", "a" * 1_000_000, "\ud800" * 1_000_000,
         "日本語の質問" * 200, "👩‍👩‍👧" * 300, "مرحبا " * 500, "in 99999999999999999999 words",
         "```" * 999]
    ),
)  # fmt: skip
LENGTHS = st.one_of(st.integers(0, 10_000), st.integers(0, 10**30))
NUMBERS = st.one_of(st.none(), st.integers(0, 10**12))
OPTIONS = st.builds(
    Options, NUMBERS, st.floats(allow_nan=True, allow_infinity=True), st.booleans(), st.booleans()
)
NAMES = st.one_of(st.just(""), st.text(ANY_CHARACTER, max_size=8))


@pytest.fixture(params=["wordllama", "hashed"], scope="module")
def predictor(request: pytest.FixtureRequest) -> LengthPredictor:
    if request.param == "wordllama":
        pytest.importorskip("wordllama", reason="wordllama is not installed")
    return LengthPredictor(make_embedder(request.param), LengthGrid(8192), capacity=100)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS, options=OPTIONS, group=NAMES, tenant=NAMES, tokens=LENGTHS, end=st.booleans())
def test_nothing_raises_and_every_answer_is_a_distribution(
    predictor: LengthPredictor,
    text: str,
    options: Options,
    group: str,
    tenant: str,
    tokens: int,
    end: bool,
) -> None:
    vectors = predictor.embed([text], [options])
    (law,) = predictor.predict_from(vectors, [group], [tenant])
    assert law.pmf.sum() == pytest.approx(1.0)
    assert (law.pmf > 0.0).all()
    predictor.note_running("key", vectors[0], tokens // 2, group, tenant)
    predictor.record(vectors[0], tokens, end, group, tenant, key="key")
    assert np.isfinite(predictor.prior(group, tenant).pmf).all()
    assert predictor.history_size <= 100
