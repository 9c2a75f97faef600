"""The beta-Stacy posterior and the cold-start default, against independent computations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sagesched.lengths import Floats, LengthGrid
from sagesched.predict.defaults import cold_start_pmf, student_t_cdf
from sagesched.predict.survival import posterior, tail_sums

untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
BINS = 12
counts = hnp.arrays(np.float64, BINS, elements=st.floats(0.0, 50.0))
strengths = st.floats(0.01, 100.0)
PRIOR = np.arange(BINS, 0, -1) / np.arange(BINS, 0, -1).sum()
NONE = np.zeros(BINS)


def one(k: int, weight: float = 1.0) -> Floats:
    result = np.zeros(BINS)
    result[k] = weight
    return result


@untimed
@given(counts, counts, strengths)
def test_posterior_is_a_distribution(events: Floats, censored: Floats, strength: float) -> None:
    pmf = posterior(events, censored, PRIOR, strength)
    assert np.isfinite(pmf).all()
    assert (pmf >= 0.0).all()
    assert pmf.sum() == pytest.approx(1.0)


@untimed
@given(counts, strengths)
def test_without_censoring_it_is_the_dirichlet_mixture(events: Floats, strength: float) -> None:
    expected = (events + strength * PRIOR) / (events.sum() + strength)
    assert posterior(events, NONE, PRIOR, strength) == pytest.approx(expected, abs=1e-12)


def test_without_prior_it_is_kaplan_meier() -> None:
    # Ends in bins 1, 3, 6; one censored before bin 3, so it was at risk in bins 0 to 2.
    pmf = posterior(one(1) + one(3) + one(6), one(3), PRIOR, 1e-9)
    expected = {1: 1 / 4, 3: 3 / 4 * 1 / 2, 6: 3 / 4 * 1 / 2}
    assert pmf == pytest.approx([expected.get(k, 0.0) for k in range(BINS)], abs=1e-6)


@untimed
@given(counts, st.integers(1, BINS - 1), strengths)
def test_a_censored_request_shifts_mass_right(events: Floats, k: int, strength: float) -> None:
    before = tail_sums(posterior(events, NONE, PRIOR, strength))
    after = tail_sums(posterior(events, one(k, 3.0), PRIOR, strength))
    assert (after >= before - 1e-12).all()
    assert after[k] > before[k]


def test_shrinkage_limits() -> None:
    assert posterior(NONE, NONE, PRIOR, 1.0) == pytest.approx(PRIOR)
    assert posterior(one(4), NONE, PRIOR, 1e9) == pytest.approx(PRIOR, abs=1e-6)
    assert posterior(one(4, 1e6), NONE, PRIOR, 1.0)[4] == pytest.approx(1.0, abs=1e-5)


def test_beyond_the_longest_seen_the_prior_continues() -> None:
    pmf = posterior(one(2, 5.0) + one(4, 5.0), NONE, PRIOR, 1.0)
    assert pmf[5:] / pmf[5:].sum() == pytest.approx(PRIOR[5:] / PRIOR[5:].sum())


def test_batch_rows_are_independent() -> None:
    rows = np.stack([one(1), one(5), NONE])
    batch = posterior(rows, np.zeros_like(rows), PRIOR, 2.0)
    for row, pmf in zip(rows, batch, strict=True):
        assert np.array_equal(pmf, posterior(row, NONE, PRIOR, 2.0))


def test_student_t_against_known_values() -> None:
    # With 1 degree of freedom it is the Cauchy law, with 2 it has a closed form.
    t = np.array([-3.0, -0.5, 0.0, 1.0, 10.0])
    assert student_t_cdf(t, 1.0) == pytest.approx(0.5 + np.arctan(t) / np.pi, abs=1e-6)
    assert student_t_cdf(t, 2.0) == pytest.approx(0.5 + t / (2 * np.sqrt(2 + t * t)), abs=1e-6)


@pytest.mark.parametrize("max_tokens", [1, 16, 100, 4096, 131072])
def test_cold_start_is_positive_everywhere(max_tokens: int) -> None:
    pmf = cold_start_pmf(LengthGrid(max_tokens))
    assert (pmf > 0.0).all()
    assert pmf.sum() == pytest.approx(1.0)


def test_cold_start_median_and_heavy_tail() -> None:
    grid = LengthGrid(1 << 20)
    survival = 1.0 - np.cumsum(cold_start_pmf(grid))
    median = grid.edges[np.searchsorted(-survival, -0.5)]
    assert 180 <= median <= 224
    # Heavier than any power law: doubling the length costs ever less.
    at = [survival[grid.bin_of(tokens)] for tokens in (4096, 8192, 65536, 131072)]
    assert at[3] / at[2] > at[1] / at[0] > 0.5
