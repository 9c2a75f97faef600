"""The history's linear trend of output lengths: ``sagesched.predict.trend``."""

from __future__ import annotations

import math

import numpy as np

from sagesched.predict.base import unit_rows
from sagesched.predict.trend import MIN_RECORDS, Trend

DIM = 12


def prompts(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return unit_rows(rng.standard_normal((count, DIM)).astype(np.float32))


def taught(count: int, direction: float = 1.0, trend: Trend | None = None) -> Trend:
    """A trend that has seen lengths grow (or shrink) along the first axis."""
    trend = trend or Trend(DIM, window=10_000)
    for vector in prompts(count):
        trend.learn(vector, round(100 * math.exp(direction * 3.0 * float(vector[0]))))
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
    assert 0.8 < float(standing.std()) < 1.2


def test_lengths_that_have_nothing_to_do_with_the_prompt_pull_little() -> None:
    lengths = np.random.default_rng(4).lognormal(5.0, 1.0, 2000)
    trend = Trend(DIM, window=10_000)
    for vector, tokens in zip(prompts(2000), lengths, strict=True):
        trend.learn(vector, max(1, round(float(tokens))))
    assert float(np.std(trend.standing(prompts(500, seed=2)))) < 0.15
    assert trend.explained < 0.05


def test_the_trend_follows_traffic_that_turns() -> None:
    trend = taught(300, trend=Trend(DIM, window=100))
    axis = np.zeros((1, DIM), dtype=np.float32)
    axis[0, 0] = 1.0
    assert trend.standing(axis)[0] > 1.0
    taught(600, direction=-1.0, trend=trend)
    assert trend.standing(axis)[0] < -1.0


def test_a_standing_does_not_depend_on_its_batch() -> None:
    trend = taught(200)
    batch = prompts(17, seed=3)
    alone = np.array([trend.standing(row[np.newaxis])[0] for row in batch])
    assert np.array_equal(alone, trend.standing(batch))
    assert np.array_equal(alone[np.newaxis], trend.standing(batch[np.newaxis]))
