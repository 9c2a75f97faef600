"""The predictor as a whole: what it learns, from what, and what cannot spoil it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from sagesched.evaluate.scoring import score
from sagesched.lengths import Floats, LengthGrid
from sagesched.predict import Embedder, LengthPredictor, make_embedder

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "alpaca_eval_lengths.jsonl.gz"
GRID = LengthGrid(8192)

CITIES = ["France", "Peru", "Japan", "Kenya", "Norway", "Chile", "Egypt", "Laos", "Cuba", "Nepal"]
SUBJECTS = ["honesty", "oceans", "railways", "winter", "music", "exile", "bread", "cities", "stars"]
SHORT = [f"{ask} the capital of {city}?" for city in CITIES for ask in ("What is", "Name")]
LONG = [f"{ask} about {what}." for what in SUBJECTS for ask in ("Write an essay", "A long story")]


@pytest.fixture(params=["wordllama", "hashed"], scope="module")
def embedder(request: pytest.FixtureRequest) -> Embedder:
    if request.param == "wordllama":
        pytest.importorskip("wordllama", reason="wordllama is not installed")
    return make_embedder(request.param)


@pytest.fixture
def predictor(embedder: Embedder) -> LengthPredictor:
    return LengthPredictor(embedder, GRID)


def learn(predictor: LengthPredictor, texts: list[str], lengths: list[int]) -> None:
    for vector, tokens in zip(predictor.embed(texts), lengths, strict=True):
        predictor.record(vector, tokens, finished=True)


def medians(predictor: LengthPredictor, texts: list[str]) -> list[float]:
    return [d.quantile(0.5) for d in predictor.predict_from(predictor.embed(texts))]


def test_nothing_learned_gives_the_cold_start(predictor: LengthPredictor) -> None:
    (prediction,) = predictor.predict_from(predictor.embed(["anything"]))
    assert prediction.pmf == pytest.approx(predictor.prior().pmf)
    assert 180 <= prediction.quantile(0.5) <= 224
    assert predictor.predict_from(predictor.embed([])) == []


def test_one_record_moves_little(predictor: LengthPredictor) -> None:
    before = predictor.prior()
    learn(predictor, ["hello"], [5])
    (seen,) = predictor.predict_from(predictor.embed(["hello"]))
    assert before.pmf[4] < 0.05 < seen.pmf[4] < 0.6


def test_many_equal_records_concentrate(predictor: LengthPredictor) -> None:
    learn(predictor, ["say hello"] * 300, [40] * 300)
    (prediction,) = predictor.predict_from(predictor.embed(["say hello"]))
    assert prediction.pmf[GRID.bin_of(40)] > 0.95
    # and still nothing is impossible: the tail beyond the longest seen is the default's
    tail = prediction.pmf[GRID.edges > 40]
    assert (tail > 0.0).all()
    assert prediction.survival(4000) / prediction.survival(400) > 0.05


@pytest.mark.parametrize("records", [20, 40])
def test_families_separate_also_for_unseen_phrasings(
    predictor: LengthPredictor, records: int
) -> None:
    rng = np.random.default_rng(5)
    short, long = rng.permutation(SHORT).tolist(), rng.permutation(LONG).tolist()
    for _ in range(records // 2):
        learn(predictor, [rng.choice(short[:10])], [int(20 * rng.lognormal(0, 0.4))])
        learn(predictor, [rng.choice(long[:10])], [int(800 * rng.lognormal(0, 0.4))])
    assert max(medians(predictor, short[10:])) < 80
    assert min(medians(predictor, long[10:])) > 300


def test_where_nothing_is_near_the_prior_counts() -> None:
    embedder = make_embedder("hashed")
    predictor = LengthPredictor(embedder, GRID)
    directions = np.eye(embedder.dim, predictor.dim, dtype=np.float32)
    for n, direction in enumerate(directions[:100]):
        predictor.record(direction, 10 if n == 0 else 1000, finished=True)
    far, near = predictor.predict_from(directions[[200, 0]])
    assert far.survival(500) > 0.85
    assert near.pmf[9] > 0.15 > 0.05 > far.pmf[9]


def test_a_group_has_lengths_of_its_own() -> None:
    predictor = LengthPredictor(make_embedder("hashed"), GRID)
    rng = np.random.default_rng(4)
    texts = [f"question {n % 40} about {n % 7} things" for n in range(400)]
    for n, vector in enumerate(predictor.embed(texts)):
        scale = 400 if n % 2 else 50
        predictor.record(vector, int(scale * rng.lognormal(0, 0.3)), True, "large" if n % 2 else "")
    ask = predictor.embed(["question 3 about 5 things"])
    small, large = (
        predictor.predict_from(ask, [group])[0].quantile(0.5) for group in ("", "large")
    )
    assert 40 <= small <= 64
    assert 320 <= large <= 512
    # a group that nobody has seen is everybody
    assert small < predictor.prior("new").quantile(0.5) < large


def test_a_change_of_all_lengths_is_followed() -> None:
    predictor = LengthPredictor(make_embedder("hashed"), GRID)
    rng = np.random.default_rng(4)
    texts = [f"question {n % 400} about {n % 7} things" for n in range(2500)]
    inside = []
    for n, vector in enumerate(predictor.embed(texts)):
        tokens = int((100 if n < 1500 else 200) * rng.lognormal(0, 0.5))
        if n >= 1500:
            law = predictor.predict_from(vector[np.newaxis])[0]
            inside.append(law.quantile(0.05) <= tokens <= law.quantile(0.95))
        predictor.record(vector, tokens, finished=True)
    assert np.mean(inside[300:]) > 0.85


def test_aborted_requests_count_as_longer(predictor: LengthPredictor) -> None:
    vector = predictor.embed(["a question"])[0]
    for _ in range(20):
        predictor.record(vector, 100, finished=True)
    (before,) = predictor.predict_from(vector[np.newaxis])
    for _ in range(20):
        predictor.record(vector, 300, finished=False)
    (after,) = predictor.predict_from(vector[np.newaxis])
    assert after.survival(300) > 0.4 > 0.12 > before.survival(300)
    assert after.pmf[(GRID.edges > 104) & (GRID.edges <= 288)].sum() < 0.08


def test_an_abort_at_a_bins_end_rules_that_bin_out(predictor: LengthPredictor) -> None:
    # Unfinished after 4 tokens means at least 5; lengths up to 16 have a bin each.
    fresh = predictor.prior()
    vector = predictor.embed(["x"])[0]
    for _ in range(1000):
        predictor.record(vector, 4, finished=False)
    assert predictor.prior().survival(4) > 0.999
    # and of what comes after it tells nothing
    assert predictor.prior().survival(5) == pytest.approx(
        fresh.survival(5) / fresh.survival(4), rel=1e-3
    )


def test_aborts_before_the_first_token_are_no_records(predictor: LengthPredictor) -> None:
    predictor.record(predictor.embed(["x"])[0], 0, finished=False)
    assert predictor.history_size == 0


def test_the_window_forgets() -> None:
    predictor = LengthPredictor(make_embedder("hashed"), GRID, capacity=50)
    learn(predictor, ["hi"] * 50, [10] * 50)
    learn(predictor, ["hi"] * 50, [1000] * 50)
    assert predictor.history_size == 50
    assert predictor.prior().survival(500) > 0.8
    assert medians(predictor, ["hi"]) == [GRID.edges[GRID.bin_of(1000)]]


def test_absurd_lengths_are_clamped(predictor: LengthPredictor) -> None:
    vector = predictor.embed(["x"])[0]
    predictor.record(vector, 10**30, finished=True)
    predictor.record(vector, 10**30, finished=False)
    assert predictor.prior().mean() > GRID.max_tokens / 10


@pytest.mark.parametrize("bad", [-1, 1.5, float("nan"), None, "7", True])
def test_bad_lengths_are_value_errors(predictor: LengthPredictor, bad: object) -> None:
    with pytest.raises(ValueError, match="output_tokens"):
        predictor.record(predictor.embed(["x"])[0], bad, finished=True)  # type: ignore[arg-type]
    assert predictor.history_size == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_bad_vectors_do_not_poison_the_history(predictor: LengthPredictor, value: float) -> None:
    learn(predictor, SHORT, [20] * len(SHORT))
    for _ in range(5):
        predictor.record(np.full(predictor.dim, value, dtype=np.float32), 4000, finished=True)
    bad = np.full((1, predictor.dim), value, dtype=np.float32)
    assert np.isfinite(predictor.predict_from(bad)[0].pmf).all()
    assert medians(predictor, SHORT[:1])[0] <= 32  # five absurd lengths among 25


def test_wrong_shape_is_a_value_error(predictor: LengthPredictor) -> None:
    with pytest.raises(ValueError, match="expected shape"):
        predictor.predict_from(np.zeros(predictor.dim, dtype=np.float32))


def test_a_prediction_does_not_depend_on_its_batch(predictor: LengthPredictor) -> None:
    learn(predictor, SHORT + LONG, list(range(1, len(SHORT + LONG) + 1)))
    vectors = predictor.embed(LONG * 3)
    batch = predictor.predict_from(vectors)
    for vector, prediction in zip(vectors, batch, strict=True):
        (alone,) = predictor.predict_from(vector[np.newaxis])
        assert np.array_equal(alone.pmf, prediction.pmf)


def crps(pmf: Floats, tokens: int) -> float:
    """Continuous ranked probability score in tokens: the mean error, were it a point forecast."""
    below = np.cumsum(pmf)
    edges = np.concatenate(([0.0], GRID.edges))
    score = 0.0
    for left, right, p in zip(edges, edges[1:], np.concatenate(([0.0], below)), strict=False):
        split = min(max(tokens, left), right)
        score += p**2 * (split - left) + (1.0 - p) ** 2 * (right - split)
    return float(score)


@pytest.mark.skipif(not DATA.exists(), reason="the shared data folder is not here")
def test_real_prompts_are_predicted_better_than_by_the_prior() -> None:
    pytest.importorskip("wordllama", reason="wordllama is not installed")
    with gzip.open(DATA, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    lengths = [row["output_tokens"]["gpt-3.5-turbo-1106"] for row in rows]
    predictor = LengthPredictor(make_embedder("wordllama"), GRID)
    texts = [row["prompt"] for row in rows]
    learn(predictor, texts[:600], lengths[:600])
    predictions = predictor.predict_from(predictor.embed(texts[600:]))
    ours = [crps(p.pmf, y) for p, y in zip(predictions, lengths[600:], strict=True)]
    prior = [crps(predictor.prior().pmf, y) for y in lengths[600:]]
    assert np.mean(ours) < 0.92 * np.mean(prior)


def test_one_draw_of_a_prompt_does_not_silence_its_neighbours(predictor: LengthPredictor) -> None:
    rng = np.random.default_rng(3)
    for _ in range(3):
        learn(predictor, SHORT[1:], [int(20 * rng.lognormal(0, 0.2)) for _ in SHORT[1:]])
        learn(predictor, LONG, [int(800 * rng.lognormal(0, 0.2)) for _ in LONG])
    (unseen,) = predictor.predict_from(predictor.embed(SHORT[:1]))
    learn(predictor, SHORT[:1], [20])
    (seen,) = predictor.predict_from(predictor.embed(SHORT[:1]))
    assert seen.survival(100) < unseen.survival(100) + 0.02
    assert seen.pmf[GRID.bin_of(20)] > unseen.pmf[GRID.bin_of(20)]


@pytest.mark.parametrize("typical", [15, 800, 3000])
def test_the_first_outcomes_do_not_overshoot(typical: int) -> None:
    """Predicted from none to seven lengths around the typical one, of prompts that tell nothing."""
    embedder, grid = make_embedder("hashed"), LengthGrid(131_072)
    ours, priors = np.zeros(8), np.zeros(8)
    for seed in range(60):
        random = np.random.default_rng(seed)
        lengths = (typical * np.exp(0.8 * random.standard_normal(8))).astype(int).clip(1)
        predictor = LengthPredictor(embedder, grid, 100)
        texts = [" ".join(random.choice(CITIES, 4)) for _ in lengths]
        for i, vector in enumerate(predictor.embed(texts)):
            law, prior = predictor.predict_from(vector[np.newaxis])[0], predictor.prior()
            ours[i] += score(grid, law.pmf[np.newaxis], lengths[i : i + 1]).crps
            priors[i] += score(grid, prior.pmf[np.newaxis], lengths[i : i + 1]).crps
            predictor.record(vector, int(lengths[i]), finished=True)
    assert (ours / priors)[1:].max() < 1.08


@pytest.mark.parametrize("tokens", [5, 3000])
def test_two_equal_outcomes_draw_the_median_towards_them_and_not_beyond(
    predictor: LengthPredictor, tokens: int
) -> None:
    default = predictor.prior().quantile(0.5)
    learn(predictor, ["tell a joke about a cat", "tell a joke about a dog"], [tokens] * 2)
    (median,) = medians(predictor, ["Prove the theorem of Pythagoras"])
    assert min(tokens, default) < median < max(tokens, default)
