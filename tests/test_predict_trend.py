"""The history's linear trend of output lengths: ``sagesched.predict.trend``."""

from __future__ import annotations

import numpy as np

from sagesched.predict.base import Vectors, unit_rows
from sagesched.predict.trend import MIN_RECORDS, Trend

DIM, FEATURES = 12, 4


def prompts(count: int, seed: int = 0) -> Vectors:
    """An embedding of 8 dimensions, and 4 features, the last of which is rare."""
    rng = np.random.default_rng(seed)
    meaning = unit_rows(rng.standard_normal((count, DIM - FEATURES)))
    features = rng.standard_normal((count, FEATURES))
    features[:, -1] = rng.random(count) < 0.05
    return np.concatenate([meaning, features], axis=1).astype(np.float32)


def taught(count: int, direction: float = 1.0, trend: Trend | None = None) -> Trend:
    """A trend that has seen scores grow (or shrink) along the first axis."""
    trend = trend or Trend(DIM, FEATURES, window=10_000)
    for vector in prompts(count):
        trend.learn(vector, direction * 3.0 * float(vector[0]))
    return trend


def test_there_is_no_trend_before_enough_records() -> None:
    trend = taught(MIN_RECORDS - 1)
    assert np.all(trend.standing(prompts(5)) == 0.0)
    assert np.any(taught(MIN_RECORDS + 16).standing(prompts(5)) != 0.0)


def test_unseen_prompts_stand_where_their_lengths_are() -> None:
    unseen = prompts(300, seed=1)
    standing = taught(600).standing(unseen)
    assert np.corrcoef(standing, unseen[:, 0])[0, 1] > 0.95
    assert abs(float(standing.mean())) < 0.2


def test_features_count_in_units_of_their_own() -> None:
    trend, scaled = (Trend(DIM, FEATURES, window=10_000) for _ in range(2))
    scale = np.ones(DIM, dtype=np.float32)
    scale[-FEATURES:] = 7.0
    for vector in prompts(500):
        score = float(vector[-2])
        trend.learn(vector, score)
        scaled.learn(vector * scale, score)
    unseen = prompts(200, seed=1)
    assert np.corrcoef(trend.standing(unseen), unseen[:, -2])[0, 1] > 0.95
    np.testing.assert_allclose(scaled.standing(unseen * scale), trend.standing(unseen), atol=1e-3)


def test_lengths_that_have_nothing_to_do_with_the_prompt_pull_little() -> None:
    scores = np.random.default_rng(4).standard_normal(2000)
    trend = Trend(DIM, FEATURES, window=10_000)
    for vector, score in zip(prompts(2000), scores.tolist(), strict=True):
        trend.learn(vector, score)
    assert float(np.std(trend.standing(prompts(500, seed=2)))) < 0.15


def test_the_trend_follows_traffic_that_turns() -> None:
    trend = taught(300, trend=Trend(DIM, FEATURES, window=100))
    axis = np.zeros((1, DIM), dtype=np.float32)
    axis[0, 0] = 1.0
    assert trend.standing(axis)[0] > 1.0
    taught(600, direction=-1.0, trend=trend)
    assert trend.standing(axis)[0] < -1.0


def test_weights_grow_for_ever_without_harm() -> None:
    trend = Trend(DIM, FEATURES, window=60)  # e^40 in 2,400 records
    for _ in range(4):
        taught(600, trend=trend)
    standing = trend.standing(prompts(50, seed=2))
    assert np.isfinite(standing).all()
    assert np.corrcoef(standing, prompts(50, seed=2)[:, 0])[0, 1] > 0.9


def test_records_do_not_know_their_own_lengths() -> None:
    """On pure noise a fitted record seems foretold; left out, it is not."""
    vectors = prompts(100)
    scores = np.random.default_rng(4).standard_normal(100)
    trend = Trend(DIM, FEATURES, window=10_000)
    for vector, score in zip(vectors, scores.tolist(), strict=True):
        trend.learn(vector, score)
    fitted, left_out = trend.standing(vectors), trend.left_out(vectors, scores)
    assert np.corrcoef(fitted, scores)[0, 1] > 0.15
    assert np.corrcoef(left_out, scores)[0, 1] < 0.05


def test_a_standing_does_not_depend_on_its_batch() -> None:
    trend = taught(200)
    batch = prompts(17, seed=3)
    alone = np.array([trend.standing(row[np.newaxis])[0] for row in batch])
    assert np.array_equal(alone, trend.standing(batch))
    assert np.array_equal(alone[np.newaxis], trend.standing(batch[np.newaxis]))
