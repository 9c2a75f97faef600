"""Standard scores of lengths, and back: ``sagesched.predict.scale``, ``scores``, ``priors``."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sagesched.lengths import Floats, LengthDistribution, LengthGrid
from sagesched.predict import scores
from sagesched.predict.priors import LAW_RECORDS, Priors
from sagesched.predict.scale import LEAST_SPREAD, USUAL, Moments, Origin, Scale, Scales

GRID = LengthGrid(8192)


def law(prior: Floats, shift: float, scale: Scale) -> Floats:
    return scores.law(prior, shift, scale, np.log(GRID.edges))


def test_a_score_becomes_the_tokens_it_was_made_of() -> None:
    scale = Scale(5.0, 0.8)
    for tokens in (1, 3, 40, 250, 4000):
        pmf = np.zeros(scores.BINS)
        pmf[scores.bins_of(np.array([scale.score(scores.log_tokens(tokens))]))] = 1.0
        found = law(pmf, 0.0, scale)
        near = np.abs(np.arange(len(GRID)) - GRID.bin_of(tokens)) <= 1
        assert found[near].sum() > 0.999
        assert (found > 0).all()


def test_what_is_moved_keeps_its_mass_and_its_median_moves() -> None:
    scale = Scale(5.0, 0.8)
    for by in (-2.0, -0.013, 0.0, 1.5):
        found = LengthDistribution(GRID, law(scores.cold_start(), by, scale))
        assert found.quantile(0.5) == pytest.approx(np.exp(5.0 + 0.8 * by), rel=0.1)
    assert (law(scores.cold_start(), 1e9, scale) > 0).all()


def test_a_few_requests_move_a_scale_little_and_many_make_it() -> None:
    scales = Scales(window=10_000)
    assert scales.of(Origin()) == Scale(USUAL, 1.0)
    scales.learn(Origin(), math.log(10), 0.0)
    assert math.log(50) < scales.of(Origin(), has_tenants=False).centre < USUAL
    for n in range(2000):
        scales.learn(Origin(), math.log(10) + (0.5 if n % 2 else -0.5), 0.0)
    assert scales.of(Origin()).centre == pytest.approx(math.log(10), abs=0.02)
    assert scales.of(Origin()).spread == pytest.approx(0.5, abs=0.02)


def test_equal_lengths_leave_some_spread() -> None:
    scales = Scales(window=1000)
    for _ in range(3000):
        scales.learn(Origin(), 3.0, 0.0)
    assert scales.of(Origin()).spread == LEAST_SPREAD


def test_groups_are_apart_and_unknown_ones_are_everybody() -> None:
    scales = Scales(window=10_000)
    for _ in range(500):
        scales.learn(Origin("small"), 3.0, 0.0)
        scales.learn(Origin("large"), 6.0, 0.0)
    assert scales.of(Origin("small")).centre == pytest.approx(3.0, abs=0.1)
    assert scales.of(Origin("large")).centre == pytest.approx(6.0, abs=0.1)
    assert scales.of(Origin("new")).centre == pytest.approx(4.5, abs=0.1)


def test_who_has_no_records_left_is_forgotten() -> None:
    scales, priors = Scales(window=100), Priors(window=100)
    for n in range(50):
        for known in range(LAW_RECORDS):
            origin = Origin(str(n), f"t{n}")
            scales.learn(origin, 5.0, 0.0)
            priors.learn(origin, 0.0, True, 1.0, held=known + 1, in_group=known + 1)
            priors.of(origin)
    kept = scales._groups, scales._origins, priors._groups, priors._tenants
    assert [len(known) for known in kept] == [50] * 4
    for n in range(50):
        for forgetful in (scales, priors):
            forgetful.forget(Origin(str(n), f"t{n}"))
            forgetful.forget_group(str(n))
    assert [len(known) for known in kept] == [0] * 4


def test_names_that_are_only_asked_for_take_no_memory() -> None:
    priors = Priors(window=100)
    for n in range(100):
        priors.of(Origin(str(n), str(n)))
    assert len(priors._known) == 1


def test_a_tenant_is_its_groups_until_known_and_shifts_nobody_else() -> None:
    scales = Scales(window=10_000)
    for _ in range(500):
        scales.learn(Origin("chat", "a"), 4.0, 0.0)
        scales.learn(Origin("code", "a"), 6.0, 0.0)
    assert scales.of(Origin("chat", "new")) == scales.of(Origin("chat"))
    before = scales.of(Origin("chat", "a"))
    for _ in range(500):
        scales.learn(Origin("chat", "flood"), 10.0, 3.0, say=0.5)
    assert scales.of(Origin("chat", "a")).centre == pytest.approx(before.centre, abs=0.05)
    assert scales.of(Origin("chat", "flood")).centre == pytest.approx(10.0, abs=0.1)
    assert scales.shift(Origin("chat", "a")) == 0.0 < scales.shift(Origin("chat", "flood"))


def test_chance_is_no_shift_and_a_change_is() -> None:
    rng = np.random.default_rng(0)
    moments, still = Moments(150), []
    for value in rng.standard_normal(3000):
        moments.add(float(value))
        still.append(moments.shift())
    assert np.mean(np.array(still) != 0.0) < 0.05
    for value in rng.standard_normal(300) + 1.0:
        moments.add(float(value))
    assert 0.7 < moments.shift() < 1.1


def test_a_prior_is_shrunk_towards_everybodys() -> None:
    priors = Priors(window=10_000)
    assert priors.of(Origin()) == pytest.approx(scores.cold_start(), abs=1e-9)
    for n in range(400):
        priors.learn(Origin(), -1.0, True, 1.0, held=n, in_group=n)
    for n in range(20):
        priors.learn(Origin("rare"), 2.0, True, 1.0, held=n, in_group=n)
    low, high = (int(scores.bins_of(np.array([x]))[0]) for x in (-1.0, 2.0))
    assert priors.of(Origin())[low] > 0.9
    assert 0.05 < priors.of(Origin("rare"))[high] < 0.4 < priors.of(Origin("rare"))[low]
    assert priors.of(Origin()).sum() == pytest.approx(1.0)
