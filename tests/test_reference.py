"""The reference itself, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sagesched import CostModel, reference

TOKENS = CostModel(token=1, memory=0)


def test_three_equal_samples() -> None:
    index = reference.gittins_index([[1, 1, 1]], [50, 55, 200], 0, 0, cost=TOKENS)
    assert index[0] == pytest.approx(80, rel=1e-15)


def test_published_cost_of_a_point_mass() -> None:
    """(10^2 - 4^2)/2 + 3*(10 - 4) = 60."""
    assert reference.gittins_index([[0, 1]], [5, 10], 4, 3)[0] == 60


def test_age_drops_the_bins_that_ended() -> None:
    lengths, p = reference.remaining_lengths(np.array([2.0, 1.0, 3.0]), np.array([1.0, 2, 4]), 1.0)
    assert lengths.tolist() == [2, 4]
    assert p.tolist() == [0.25, 0.75]


def test_continuation_is_a_probability_with_the_stated_tail() -> None:
    edges = np.array([5.0, 8, 16, 32])
    lengths, p = reference.remaining_lengths(np.array([1.0, 0, 0, 0]), edges, 5.0)
    assert lengths.tolist() == [8, 16, 32]
    assert p.sum() == pytest.approx(1, rel=1e-15)
    assert 1 - p[0] == pytest.approx((5 / 8) ** 1.5)
    assert p[2] == pytest.approx((5 / 16) ** 1.5)


def test_continuation_starts_at_one_token() -> None:
    """At age 0 no request is shorter than a token: P(O > 0.5) = 1."""
    _, p = reference.remaining_lengths(np.zeros(3), np.array([0.5, 1, 4]), 0.0)
    assert p.tolist() == [0, 0, 1]


def test_beyond_the_last_edge() -> None:
    lengths, p = reference.remaining_lengths(np.ones(2), np.array([5.0, 8]), 9.0)
    assert (lengths.tolist(), p.tolist()) == ([18], [1])


def test_remaining_cost_adds_its_three_parts() -> None:
    cost = CostModel(token=2, memory=0.5, prefill=3)
    assert cost.remaining(10, 4, prompt_len=6, cached_len=2) == 2 * 6 + 0.5 * (42 + 36) + 3 * 4
    assert cost.remaining(10, 4, prompt_len=6, cached_len=99) == 2 * 6 + 0.5 * (42 + 36)
