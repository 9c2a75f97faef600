"""Running requests count as longer than they are so far."""

from __future__ import annotations

import numpy as np
import pytest

from sagesched.lengths import LengthGrid
from sagesched.plugin.progress import FROM_TOKENS, MOST, Progress
from sagesched.predict import LengthPredictor, make_embedder, running

GRID = LengthGrid(8192)
SHORT = [f"What is the capital of country {n}?" for n in range(20)]
LONG = [f"Write an essay about subject {n}." for n in range(20)]


@pytest.fixture
def predictor() -> LengthPredictor:
    predictor = LengthPredictor(make_embedder("hashed"), GRID, capacity=100)
    for vector in predictor.embed(SHORT):
        predictor.record(vector, 10, finished=True)
    return predictor


def median(predictor: LengthPredictor, text: str) -> float:
    return predictor.predict_from(predictor.embed([text]))[0].quantile(0.5)


def test_what_still_runs_is_known_to_be_long(predictor: LengthPredictor) -> None:
    asked = "Write an essay about subject 77."
    assert median(predictor, asked) < 30
    for n, vector in enumerate(predictor.embed(LONG)):
        for tokens in (64, 128, 256, 512):
            predictor.note_running(str(n), vector, tokens)
    assert median(predictor, asked) > 500
    assert median(predictor, "What is the capital of country 77?") < 30
    assert predictor.prior().survival(500) == pytest.approx(0.5, abs=0.15)
    assert predictor.history_size == 40


def test_an_end_takes_the_place_of_what_ran(predictor: LengthPredictor) -> None:
    plain = LengthPredictor(make_embedder("hashed"), GRID, capacity=100)
    for text in SHORT:
        plain.record(plain.embed([text])[0], 10, finished=True)
    for n, vector in enumerate(predictor.embed(LONG)):
        predictor.note_running(str(n), vector, 100)
        predictor.note_running(str(n), vector, 300)
        predictor.record(vector, 600, True, key=str(n))
        plain.record(vector, 600, True)
    for one, other in zip(
        predictor.predict_from(predictor.embed(LONG + SHORT)),
        plain.predict_from(plain.embed(LONG + SHORT)),
        strict=True,
    ):
        assert np.array_equal(one.pmf, other.pmf)
    assert np.array_equal(predictor.prior().pmf, plain.prior().pmf)
    assert len(predictor._running) == 0


def test_what_is_forgotten_leaves_only_its_record(predictor: LengthPredictor) -> None:
    before = predictor.prior().pmf
    (vector,) = predictor.embed(LONG[:1])
    predictor.note_running("a", vector, 700)
    assert not np.array_equal(predictor.prior().pmf, before)
    predictor.forget_running("a")
    predictor.forget_running("a")
    predictor.forget_running("never seen")
    assert np.array_equal(predictor.prior().pmf, before)
    assert not predictor.record(vector, 0, finished=False, key="a")


def test_a_record_may_be_pushed_out_while_its_request_runs(predictor: LengthPredictor) -> None:
    (vector,) = predictor.embed(LONG[:1])
    predictor.note_running("a", vector, 700)
    for text in SHORT * 8:
        predictor.record(predictor.embed([text])[0], 10, finished=True)
    assert predictor.history_size == 100
    predictor.note_running("a", vector, 1400)
    predictor.record(vector, 2000, finished=True, key="a")
    assert predictor.history_size == 100
    (law,) = predictor.predict_from(predictor.embed(LONG[:1]))
    assert law.survival(1000) > 0.1


@pytest.mark.parametrize("bad", [-1, 1.5, None, True])
def test_bad_lengths_are_value_errors(predictor: LengthPredictor, bad: object) -> None:
    with pytest.raises(ValueError, match="output_tokens"):
        predictor.note_running("a", predictor.embed(["x"])[0], bad)  # type: ignore[arg-type]
    assert predictor.history_size == 20


def test_progress_is_reported_when_a_length_has_doubled() -> None:
    progress = Progress()
    told = [n for n in range(1, 1000) if progress.has_doubled("a", n)]
    assert told == [FROM_TOKENS * 2**k for k in range(4)]
    progress.end("a")
    progress.end("a")
    assert progress.has_doubled("a", 100)


def test_progress_of_requests_that_never_end_takes_bounded_memory() -> None:
    progress = Progress()
    for n in range(2 * MOST):
        progress.has_doubled(str(n), 100)
    assert len(progress._reported) <= MOST


def test_a_key_used_again_by_somebody_else_is_another_request(predictor: LengthPredictor) -> None:
    one, other = predictor.embed(LONG[:2])
    predictor.note_running("key", one, 64, tenant="a")
    predictor.note_running("key", other, 64, tenant="b")
    predictor.record(other, 90, finished=True, tenant="b", key="key")
    assert predictor.history_size == 22
    assert [predictor._slots.held(tenant) for tenant in ("", "a", "b")] == [20, 1, 1]
    held = predictor._records.origins_of(np.arange(22))
    assert [origin.tenant for origin in held] == [""] * 20 + ["a", "b"]


def test_requests_that_never_end_take_bounded_memory(
    predictor: LengthPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "MOST_RUNNING", 50)
    before = predictor.prior().pmf
    (vector,) = predictor.embed(LONG[:1])
    for n in range(200):
        predictor.note_running(str(n), vector, 64)
    assert len(predictor._running) == 50
    for n in range(200):
        predictor.forget_running(str(n))
    assert np.array_equal(predictor.prior().pmf, before)


def test_a_prediction_changes_nothing(predictor: LengthPredictor) -> None:
    for n, vector in enumerate(predictor.embed(LONG)):
        predictor.record(vector, 300 + n, True, "model", f"tenant {n % 3}")
    vectors = predictor.embed(SHORT + LONG)
    groups, tenants = ["", "model"] * 20, ["", "tenant 1"] * 20
    first = [law.pmf for law in predictor.predict_from(vectors, groups, tenants)]
    predictor.predict_from(vectors, ["model"] * 40, ["tenant 0"] * 40)
    again = [law.pmf for law in predictor.predict_from(vectors, groups, tenants)]
    assert np.array_equal(first, again)
