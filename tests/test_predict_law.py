"""The compiled length law against the same steps in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from sagesched import _core
from sagesched.lengths import Floats, LengthGrid
from sagesched.predict import scores
from sagesched.predict.survival import posterior

GRID = LengthGrid(32768)
AT = (np.log(GRID.edges) - 5.0) / 1.2
TRACE = 1e-12


def reference(prior: Floats, shift: float, evidence: list[scores.Evidence]) -> Floats:
    cdf = np.concatenate(([0.0], np.cumsum(prior)))
    moved = np.interp(scores.EDGES - shift, scores.EDGES, cdf)
    moved[0], moved[-1] = 0.0, cdf[-1]
    law = np.maximum(np.diff(moved), TRACE)
    law /= law.sum()
    for score, weight, finished, strength in evidence:
        events, censored = (
            np.bincount(scores.bins_of(score), np.where(of, weight, 0.0), scores.BINS)
            for of in (finished, ~finished)
        )
        law = posterior(events, censored, law, strength)
    cdf = np.concatenate(([0.0], np.cumsum(law)))
    below = np.interp(AT, scores.EDGES, cdf)
    below[-1] = 1.0
    found = np.maximum(np.diff(below, prepend=0.0), TRACE)
    result: Floats = found / found.sum()
    return result


@pytest.mark.parametrize("seed", range(20))
def test_the_law_is_that_of_the_formulas(seed: int) -> None:
    random = np.random.default_rng(seed)
    k = int(random.integers(0, 200))
    evidence = [
        (
            random.normal(0, 4, k),
            random.exponential(1, k) * (random.random(k) < 0.5),
            random.random(k) < 0.8,
            strength,
        )
        for strength in (2.0, 0.1)
    ]
    prior = scores.cold_start()
    for shift in (0.0, 0.37, -3.2, 30.0):
        law = _core.length_law(scores.MOST, prior, shift, AT, evidence)
        assert law == pytest.approx(reference(prior, shift, evidence), rel=1e-6, abs=1e-9)
        assert law.sum() == pytest.approx(1.0)
        assert (law > 0.0).all()


def test_scores_beyond_the_grid_count_at_its_end() -> None:
    prior, flags = scores.cold_start(), np.ones(2, dtype=bool)
    beyond = [(np.array([1e300, -1e300]), np.ones(2), flags, 0.01)]
    at_the_end = [(np.array([11.999, -11.999]), np.ones(2), flags, 0.01)]
    far, near = (_core.length_law(12.0, prior, 0.0, AT, e) for e in (beyond, at_the_end))
    assert far.tolist() == near.tolist()


def test_what_is_no_evidence_is_refused() -> None:
    prior, flags, one = scores.cold_start(), np.ones(1, dtype=bool), np.ones(1)
    bad = (one * np.nan, one, 1.0), (one, one * np.inf, 1.0), (one, one, 0.0)
    for score, weight, strength in bad:
        with pytest.raises(ValueError, match=r"finite|positive"):
            _core.length_law(12.0, prior, 0.0, AT, [(score, weight, flags, strength)])
    with pytest.raises(ValueError, match="expected"):
        _core.length_law(12.0, prior, 0.0, AT, [(np.ones(2), one, flags, 1.0)])
    with pytest.raises(ValueError, match="shift finite"):
        _core.length_law(12.0, prior, np.nan, AT, [])
