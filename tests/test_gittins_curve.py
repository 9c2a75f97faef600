"""All ages at once: the curve and its tangent queries against the index age by age."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sagesched import CostModel, IndexCurve, gittins_curve, gittins_index, reference

untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TOKENS = CostModel(token=1, memory=0)
NAN = float("nan")

coefficients = st.sampled_from([0.0, 0.01, 1.0, 3.5, 1000.0])
cost_models = st.builds(CostModel, coefficients, st.sampled_from([0.5, 1.0]), coefficients)
# The curve adds only terms >= 0: m bins, 2^-52 * 4 m. The reference conditions by 1 - F, see
# test_gittins_index; its bound, 2e-9 for these masses, is what the comparison is about.
masses = st.one_of(st.just(0.0), st.floats(1e-3, 1.0), st.sampled_from([0.25, 0.5]))


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    bins = draw(st.integers(1, 60))
    steps = draw(st.lists(st.integers(1, 200), min_size=bins, max_size=bins))
    pmf = draw(st.lists(masses, min_size=bins, max_size=bins))
    return {
        "pmf": np.array(pmf),
        "support": np.cumsum(steps).astype(float),
        "prompt_len": draw(st.integers(0, 5000)),
    }


def age_by_age(row: dict[str, Any], ages: Any, cached_len: Any, cost: CostModel) -> Any:
    pmf = np.tile(row["pmf"], (len(ages), 1))
    return reference.gittins_index(pmf, row["support"], ages, row["prompt_len"], cached_len, cost)


@untimed
@given(rows(), cost_models, st.integers(0, 6000))
def test_curve_is_the_index_at_every_edge(
    row: dict[str, Any], cost: CostModel, cached_len: int
) -> None:
    curve = gittins_curve(**row, cached_len=cached_len, cost=cost)
    ages = np.concatenate([[0], row["support"]])
    assert curve.shape == ages.shape
    np.testing.assert_allclose(curve, age_by_age(row, ages, cached_len, cost), rtol=2e-9)


@untimed
@given(rows(), cost_models, st.data())
def test_any_age_and_any_cached_prefix(
    row: dict[str, Any], cost: CostModel, data: st.DataObject
) -> None:
    last = float(row["support"][-1])
    age = st.one_of(
        st.sampled_from(row["support"].tolist()), st.floats(0, last), st.floats(last, 3 * last)
    )
    ages = np.array(data.draw(st.lists(age, min_size=1, max_size=8)))
    cached = np.array([data.draw(st.integers(0, 6000)) for _ in ages])
    index, stop = IndexCurve(**row, cost=cost).index(ages, cached)
    np.testing.assert_allclose(index, age_by_age(row, ages, cached, cost), rtol=2e-9)
    for i, length in enumerate(stop):
        lengths, p = reference.remaining_lengths(row["pmf"], row["support"], ages[i])
        r = np.array([cost.remaining(x, ages[i], row["prompt_len"], cached[i]) for x in lengths])
        served = lengths <= length
        ratio = (p * np.minimum(r, r[served][-1])).sum() / p[served].sum()
        assert ratio == pytest.approx(index[i], rel=2e-9)


def test_the_offset_sits_inside_the_minimum() -> None:
    """Stop at 1 of two equal masses at 1 and 10: K = 0 gives 2, K = 8 gives 13.5, not 10."""
    curve = IndexCurve([1.0, 1.0], [1, 10], 8, CostModel(token=1, memory=0, prefill=1))
    index, stop = curve.index([0, 0], [8, 0])
    assert index.tolist() == [2.0, 13.5]
    assert stop.tolist() == [1.0, 10.0]


def test_a_near_edge_keeps_its_digits_beside_a_far_one() -> None:
    """Half of the mass at 1 token, half at 2^39: costs in between are 10^23 times as large."""
    support = [1, 2, 2.0**39]
    curve = gittins_curve([1.0, 0, 1], support, 0)
    assert curve[0] == 1.0  # W = 1/2 for everybody, F = 1/2
    np.testing.assert_allclose(
        curve, gittins_index(np.tile([1.0, 0, 1], (4, 1)), support, [0, *support], 0), rtol=1e-14
    )


def test_a_far_tail_keeps_its_digits() -> None:
    """Hazard 3/4 up to the last edge: always serve to the end, at the mean of what is left, also
    where a 10^-10 of the row is left."""
    bins = 18
    pmf = 0.75 * 0.25 ** np.arange(bins)
    pmf[-1] = 0.25 ** (bins - 1)
    curve = gittins_curve(pmf, np.arange(1, bins + 1), 0, cost=TOKENS)
    left = bins - np.arange(bins)
    np.testing.assert_allclose(curve[:-1], (1 - 0.25**left) / 0.75, rtol=1e-14)


def test_shapes() -> None:
    pmf = np.ones((2, 3))
    both = gittins_curve(pmf, [1, 2, 4], [10, 20], [0, 5], CostModel(prefill=1))
    assert both.shape == (2, 4)
    for i, (prompt, cached) in enumerate([(10, 0), (20, 5)]):
        one = gittins_curve(pmf[i], [1, 2, 4], prompt, cached, CostModel(prefill=1))
        np.testing.assert_array_equal(one, both[i])
    assert gittins_curve(np.ones((0, 3)), [1, 2, 4], 0).shape == (0, 4)
    assert gittins_curve([[1]], [5], 0, cost=TOKENS).tolist() == [[5.0, 5.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pmf": [[1, 1], [1, NAN]]}, "pmf row 1, column 1 is nan"),
        ({"pmf": [[1, 1], [-1, 1]]}, "pmf row 1, column 0 is -1"),
        ({"pmf": [[1, 1, 1]]}, r"pmf has shape \(1, 3\)"),
        ({"pmf": 1.0}, r"pmf has shape"),
        ({"support": [2, 2]}, "support column 1 is 2"),
        ({"prompt_len": [5, -1]}, "prompt_len row 1 is -1"),
        ({"cached_len": NAN}, "cached_len row 0 is nan"),
    ],
)
def test_bad_values_are_named(change: dict[str, Any], message: str) -> None:
    good = {"pmf": np.ones((2, 2)), "support": [1, 2], "prompt_len": 3, "cached_len": 0}
    with pytest.raises(ValueError, match=message):
        gittins_curve(**{**good, **change})


def test_bad_queries_are_named() -> None:
    curve = IndexCurve([1.0, 1.0], [1, 2], 3)
    with pytest.raises(ValueError, match="age row 1 is -1"):
        curve.index([0, -1])
    with pytest.raises(ValueError, match="cached_len row 0 is nan"):
        curve.index([0], NAN)
    with pytest.raises(ValueError, match=r"cached_len has shape \(3,\)"):
        curve.index([0, 1], [1, 2, 3])
    with pytest.raises(TypeError, match="age"):
        curve.index(["1"])
    with pytest.raises(ValueError, match="pmf row 0, column 0 is -1"):
        IndexCurve([-1.0, 1.0], [1, 2], 3)
