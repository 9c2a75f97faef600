"""Scores of length predictions, and the predictors that ours is compared with."""

from __future__ import annotations

import numpy as np
import pytest

from sagesched.evaluate import scoring
from sagesched.evaluate.methods import METHODS, Method, Request
from sagesched.lengths import LengthGrid
from sagesched.predict import LengthPredictor, make_embedder

GRID = LengthGrid(64)


def test_crps_is_the_integral_it_claims_to_be() -> None:
    rng = np.random.default_rng(0)
    pmfs = rng.dirichlet(np.ones(len(GRID)), 5)
    lengths = rng.integers(1, 65, 5)
    x = np.linspace(0, 64, 64_001)
    for pmf, length, found in zip(pmfs, lengths, scoring.crps(GRID, pmfs, lengths), strict=True):
        cdf = np.concatenate(([0.0], np.cumsum(pmf)))[np.searchsorted(GRID.edges, x, side="right")]
        assert found == pytest.approx(np.trapezoid((cdf - (x >= length)) ** 2, x), abs=0.01)


def test_a_point_forecast_costs_its_error() -> None:
    pmf = np.zeros((1, len(GRID)))
    pmf[0, GRID.bin_of(10)] = 1.0
    for length in (10, 3, 40):
        assert scoring.crps(GRID, pmf, np.array([length])) == pytest.approx(abs(length - 10))
    assert scoring.pinball(GRID, pmf, np.array([30]), 0.9) == pytest.approx(18.0)
    assert scoring.pinball(GRID, pmf, np.array([5]), 0.9) == pytest.approx(0.5)


def test_a_true_law_is_covered_and_ranks() -> None:
    rng = np.random.default_rng(0)
    middle = rng.integers(21, 44, 3000)
    lengths = middle + rng.integers(-20, 21, 3000)
    laws = np.zeros((3000, len(GRID)))
    for row, at in zip(laws, middle, strict=True):
        for tokens in range(at - 20, at + 21):
            row[GRID.bin_of(tokens)] += 1 / 41
    found = scoring.score(GRID, laws, lengths)
    assert 0.85 < found.coverage90 < 0.95
    assert found.tau > 0.2
    assert found.n == 3000


def test_tau_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 300).astype(float), rng.integers(0, 9, 300).astype(float)
    assert scoring.kendall_tau(a, b) == pytest.approx(stats.kendalltau(a, b)[0])
    assert scoring.kendall_tau(np.ones(9), b[:9]) == 0.0


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_learns_what_there_is_to_learn(name: str) -> None:
    if name == "gbm":
        pytest.importorskip("sklearn")
    embedder = make_embedder("hashed")
    method: Method = METHODS[name](embedder, LengthGrid(4096))
    texts = ["Write a long essay about the sea.", "Capital of France?"]
    long, short = (Request(v) for v in LengthPredictor(embedder, GRID).embed(texts))
    cold = method.predict([long, short])
    assert cold.shape == (2, len(LengthGrid(4096)))
    assert np.allclose(cold.sum(axis=1), 1.0)
    for _ in range(80):
        method.learn(long, 800)
        method.learn(short, 8)
    means = method.predict([long, short]) @ LengthGrid(4096).edges
    if name == "global":
        assert means[0] == pytest.approx(means[1])
    else:
        assert means[0] > 2 * means[1]
