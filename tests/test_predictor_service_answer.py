"""The fields of an answer, by their definitions, and the waterfall of fallback levels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagesched.cost import CostModel
from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.predict.defaults import cold_start_pmf
from sagesched.predict.hashed import HashedEmbedder
from sagesched.predictor_service.answer import QUANTILES, Answering, bucket_of, quantiles
from sagesched.predictor_service.explained import Explained, ExplainingPredictor
from sagesched.predictor_service.schema import Asked, FallbackLevel, Prediction

GRID = LengthGrid(8192)
ANSWERING = Answering(GRID, CostModel())


def law_of(lengths: dict[int, float]) -> LengthDistribution:
    pmf = np.zeros(len(GRID))
    for tokens, probability in lengths.items():
        pmf[GRID.bin_of(tokens)] += probability
    return LengthDistribution(GRID, pmf)


def answer(lengths: dict[int, float], asked: Asked | None = None) -> Prediction:
    asked = asked or Asked(prompt="x" * 40)
    return ANSWERING.answer("k", asked, law_of(lengths), FallbackLevel.GLOBAL)


@pytest.mark.parametrize(
    ("tokens", "bucket"),
    [
        *[(1, "short"), (128, "short"), (129, "medium"), (512, "medium")],
        *[(513, "long"), (2048, "long"), (2049, "xlong"), (10**9, "xlong")],
    ],
)
def test_buckets(tokens: int, bucket: str) -> None:
    assert bucket_of(tokens).value == bucket


def test_a_known_length() -> None:
    found = answer({64: 1.0})
    assert found.expected_output_tokens_p50 == found.expected_output_tokens_p90 == 64
    assert (found.risk_score, found.confidence_score) == (0.0, 1.0)
    assert found.predicted_cost_p50 == 64 * (32 + 10)  # 40 characters are taken for 10 tokens


def test_risk_is_the_probability_of_twice_the_median() -> None:
    found = answer({32: 0.6, 64: 0.1, 80: 0.25, 1024: 0.05})
    assert found.expected_output_tokens_p50 == 32
    assert found.risk_score == pytest.approx(0.3)
    assert found.expected_output_tokens_p90 == 80


def test_no_confidence_in_what_is_believed_of_any_prompt() -> None:
    law = LengthDistribution(GRID, cold_start_pmf(GRID))
    found = ANSWERING.answer("k", Asked(prompt=""), law, FallbackLevel.COLD_START)
    assert found.confidence_score == 0.0
    half = answer({100: 0.5, 300: 0.5})
    assert 0.4 < half.confidence_score < 0.8


@given(
    st.dictionaries(st.integers(1, 8192), st.floats(0.01, 1.0), min_size=1, max_size=9),
    st.none() | st.integers(1, 10_000),
    st.none() | st.integers(0, 10_000),
)
def test_every_answer_is_consistent(
    weights: dict[int, float], limit: int | None, prompt_tokens: int | None
) -> None:
    total = sum(weights.values())
    asked = Asked(prompt="p", max_new_tokens=limit, prompt_tokens=prompt_tokens)
    found = answer({tokens: weight / total for tokens, weight in weights.items()}, asked)
    lengths = list(found.quantiles.values())
    assert lengths == sorted(lengths)
    assert lengths[0] >= 1
    law = law_of({tokens: weight / total for tokens, weight in weights.items()})
    assert quantiles(law) == {q: law.quantile(q) for q in QUANTILES}
    assert lengths[-1] <= 8192
    assert 0.0 <= found.risk_score <= 0.5 + 1e-9
    assert 0.0 <= found.confidence_score <= 1.0
    assert found.predicted_cost_p50 > 0.0
    if limit is not None:
        assert lengths[-1] <= limit


def levels(predictor: ExplainingPredictor, prompt: str, group: str, tenant: str) -> FallbackLevel:
    [law] = predictor.predict_from(predictor.embed([prompt]), [group], [tenant])
    assert isinstance(law, Explained)
    return law.level


def test_the_waterfall() -> None:
    predictor = ExplainingPredictor(HashedEmbedder(), GRID, 1000)

    def teach(n: int, group: str, tenant: str) -> None:
        for vector in predictor.embed([f"{group} {tenant} {at * 7919}" for at in range(n)]):
            predictor.record(vector, 100, True, group, tenant)

    unlike = "translate the menu of a restaurant"
    assert levels(predictor, unlike, "g", "t") == FallbackLevel.COLD_START
    teach(29, "other", "")
    assert levels(predictor, unlike, "g", "t") == FallbackLevel.GLOBAL
    teach(30, "g", "")
    assert levels(predictor, unlike, "g", "t") == FallbackLevel.GROUP
    teach(30, "g", "t")
    assert levels(predictor, unlike, "g", "t") == FallbackLevel.TENANT
    for vector in predictor.embed([f"{unlike} {n}" for n in range(3)]):
        predictor.record(vector, 5, True)
    assert levels(predictor, unlike, "g", "t") == FallbackLevel.NEIGHBOURS


def test_records_are_counted_as_they_are_kept() -> None:
    predictor = ExplainingPredictor(HashedEmbedder(), GRID, 20)
    for n, vector in enumerate(predictor.embed([f"p {n}" for n in range(50)])):
        predictor.record(vector, 10, True, "old" if n < 40 else "new")
    assert predictor.tally.groups == {"old": 10, "new": 10}
