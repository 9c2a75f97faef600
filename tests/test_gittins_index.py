"""The compiled index: known values, laws it must obey, and the inputs it must refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sagesched import CostModel, gittins_index, reference

TOKENS = CostModel(token=1, memory=0)
EDGES = np.array([50.0, 55.0, 200.0])

# A busy machine is no failure.
untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

coefficients = st.sampled_from([0.0, 0.01, 1.0, 3.5])
cost_models = st.builds(CostModel, coefficients, st.sampled_from([0.5, 1.0]), coefficients)
# Masses far above rounding: 1 - F_k keeps at least 1e-5 of the row, so that the relative error of
# both implementations stays below 70 bins * 2^-52 / 1e-5 = 1.6e-9.
masses = st.one_of(st.just(0.0), st.floats(1e-3, 1.0))


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """Rows of 1..70 bins with ages before, at, between and beyond the edges."""
    rows, bins = draw(st.integers(1, 4)), draw(st.integers(1, 70))
    support = np.cumsum(draw(arrays(np.float64, bins, elements=st.floats(0.5, 200.0))))
    last = float(support[-1])
    ages = st.one_of(
        st.just(0.0),
        st.sampled_from(support.tolist()),
        st.floats(0.0, last),
        st.floats(last, 4 * last),
    )
    lengths = arrays(np.int64, rows, elements=st.integers(0, 5000))
    return {
        "pmf": draw(arrays(np.float64, (rows, bins), elements=masses)),
        "support": support,
        "age": np.array([draw(ages) for _ in range(rows)]),
        "prompt_len": draw(lengths),
        "cached_len": draw(lengths),
    }


@untimed
@given(requests(), cost_models)
def test_agrees_with_reference(request: dict[str, Any], cost: CostModel) -> None:
    index = gittins_index(**request, cost=cost)
    assert index.dtype == np.float64
    assert np.all(np.isfinite(index) & (index > 0))
    np.testing.assert_allclose(index, reference.gittins_index(**request, cost=cost), rtol=2e-9)


@untimed
@given(requests(), cost_models, st.sampled_from([1e-300, 0.125, 7.0, 1e290]))
def test_scale_of_the_row_does_not_matter(
    request: dict[str, Any], cost: CostModel, scale: float
) -> None:
    scaled = {**request, "pmf": request["pmf"] * scale}
    np.testing.assert_allclose(
        gittins_index(**scaled, cost=cost), gittins_index(**request, cost=cost), rtol=2e-9
    )


@untimed
@given(requests(), st.data())
def test_conditioning_on_the_age(request: dict[str, Any], data: st.DataObject) -> None:
    """Tokens already produced act as prompt: c(O) - c(a) with prompt I is c(O - a) with I + a."""
    row, support = request["pmf"][:1], request["support"]
    age = data.draw(st.floats(0.0, float(support[-1]) * 0.999))
    later = support > age
    if not row[0, later].any():
        return  # an outlived row follows the continuation, which depends on the age itself
    np.testing.assert_allclose(
        gittins_index(row, support, age, 30),
        gittins_index(row[:, later], support[later] - age, 0, 30 + age),
        rtol=2e-9,
    )


@untimed
@given(requests())
def test_lies_between_least_and_mean_cost(request: dict[str, Any]) -> None:
    pmf = request["pmf"] + 1e-3  # no empty row
    index = gittins_index(pmf, request["support"], 0, request["prompt_len"])
    r = [
        [CostModel().remaining(x, 0, i) for x in request["support"]] for i in request["prompt_len"]
    ]
    mean = (pmf * r).sum(1) / pmf.sum(1)
    assert np.all(index <= mean * (1 + 2e-9))
    assert np.all(index >= np.array(r)[:, 0] * (1 - 2e-9))


@untimed
@given(requests())
def test_batch_equals_single_rows_bit_for_bit(request: dict[str, Any]) -> None:
    whole = gittins_index(**request)
    support = request.pop("support")
    for i in range(len(whole)):
        row = {name: value[i : i + 1] for name, value in request.items()}
        assert gittins_index(support=support, **row)[0] == whole[i]


@pytest.mark.parametrize("age", [0, 3, 9, 9.999])
def test_point_mass_costs_itself(age: float) -> None:
    cost = CostModel(token=2, memory=1, prefill=5)
    index = gittins_index([[0, 1, 0]], [5, 10, 20], age, 100, 60, cost)
    assert index[0] == pytest.approx(cost.remaining(10, age, 100, 60), rel=1e-14)


@pytest.mark.parametrize("p", [0.2, 0.5, 0.8])
def test_geometric_has_no_age(p: float) -> None:
    """Constant hazard p: every stopping rule has E[min(X, D)] / P(X <= D) = 1/p."""
    lengths = np.arange(1, 201)
    pmf = np.tile(p * (1 - p) ** (lengths - 1.0), (12, 1))
    index = gittins_index(pmf, lengths, np.arange(12), 0, cost=TOKENS)
    np.testing.assert_allclose(index, 1 / p, rtol=1e-9)


def test_three_equal_samples_give_80_exactly() -> None:
    """Serve up to 55 tokens: cost (50 + 55 + 55)/3, and 2 of 3 finish, so 160/2.

    The mean of those that finish over their share, (50 + 55)/2 / (2/3) = 78.75, forgets the tokens
    spent on the one that does not.
    """
    assert gittins_index([[1, 1, 1]], EDGES, 0, 0, cost=TOKENS)[0] == 80.0
    third = np.full((1, 3), 1 / 3)
    assert gittins_index(third, EDGES, 0, 0, cost=TOKENS)[0] == pytest.approx(80, rel=1e-15)


def test_decreasing_hazard_grows_with_age() -> None:
    """A mixture of geometrics: the best stop is the next token, index 1/hazard."""
    lengths = np.arange(1, 3001)
    fast, slow = 0.5 ** (lengths - 1.0), 0.98 ** (lengths - 1.0)
    pmf = 0.5 * (0.5 * fast + 0.02 * slow)
    survival = 0.5 * (fast + slow)
    ages = np.arange(15)
    index = gittins_index(np.tile(pmf, (15, 1)), lengths, ages, 0, cost=TOKENS)
    assert np.all(np.diff(index) > 0)
    np.testing.assert_allclose(index, (survival / pmf)[ages], rtol=1e-9)


def test_increasing_hazard_falls_with_age() -> None:
    """Hazard k/50: never stop, so the index is the mean number of tokens left."""
    lengths = np.arange(1, 51)
    hazard = lengths / 50
    pmf = hazard * np.cumprod(np.concatenate([[1.0], 1 - hazard[:-1]]))
    ages = np.arange(30)
    index = gittins_index(np.tile(pmf, (30, 1)), lengths, ages, 0, cost=TOKENS)
    assert np.all(np.diff(index) < 0)
    mean_left = [(pmf * (lengths - a))[a:].sum() / pmf[a:].sum() for a in ages]
    np.testing.assert_allclose(index, mean_left, rtol=1e-9)


def test_offset_sits_inside_the_minimum() -> None:
    """1000 uncached tokens make stopping early pay twice: min over k of (K + W_k)/F_k."""
    cost = CostModel(token=1, memory=0, prefill=1)
    index = gittins_index([[1, 1, 1]], EDGES, 0, 1500, 500, cost)
    assert index[0] == pytest.approx(1000 + 305 / 3, rel=1e-14)
    assert index[0] > 1000 + 80


def test_cached_prefix_is_clamped_to_the_prompt() -> None:
    cost = CostModel(prefill=10)
    full, beyond = gittins_index(np.ones((2, 3)), EDGES, 0, 40, [40, 99], cost)
    assert full == beyond
    assert gittins_index([[1, 1, 1]], EDGES, 0, 40, 39, cost)[0] > full


@pytest.mark.parametrize("row", [[0, 0, 0], [1, 0, 0], [1, 1e-13, 0]])
@pytest.mark.parametrize("age", [50, 54.5, 150])
def test_outlived_rows_get_the_continuation(row: list[float], age: float) -> None:
    """No information left: the same heavy tail whatever the row was, and above one step's cost."""
    index = gittins_index([row], EDGES, age, 10)
    assert index[0] == gittins_index([[0, 0, 0]], EDGES, age, 10)[0]
    np.testing.assert_allclose(index, reference.gittins_index([row], EDGES, age, 10), rtol=1e-12)


def test_a_little_mass_is_information() -> None:
    assert gittins_index([[1, 1e-11, 0]], EDGES, 50, 0, cost=TOKENS)[0] == pytest.approx(5)


@pytest.mark.parametrize("age", [200, 201, 1e6])
def test_beyond_the_last_edge_the_output_ends_at_twice_the_age(age: float) -> None:
    index = gittins_index([[1, 1, 1]], EDGES, age, 7)
    assert index[0] == pytest.approx(CostModel().remaining(2 * age, age, 7), rel=1e-14)


def test_index_is_positive_even_when_nothing_costs() -> None:
    cost = CostModel(token=0, memory=0, prefill=1)
    index = gittins_index([[1, 1, 1]], EDGES, 0, 40, 40, cost)
    assert index[0] > 0
    assert np.isfinite(np.log(index[0]))


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.int64, np.uint64, np.float32])
def test_any_integer_or_float_type(dtype: type) -> None:
    cost = CostModel(prefill=1)
    expected = gittins_index([[1, 2, 3]], EDGES, 60, 9, 4, cost)
    index = gittins_index(
        np.array([[1, 2, 3]], dtype),
        EDGES.astype(np.int64),
        np.array([60], dtype),
        np.array([9], dtype),
        np.array(4, dtype),
        cost,
    )
    np.testing.assert_array_equal(index, expected)


def test_layout_does_not_matter() -> None:
    pmf = np.arange(1.0, 13).reshape(4, 3)
    expected = gittins_index(pmf, EDGES, 0, 0)
    strided = np.repeat(pmf, 2, axis=1)[:, ::2]
    for same in (
        np.asfortranarray(pmf),
        strided,
        pmf.astype(">f8"),
        pmf.astype(">f4"),
        pmf.tolist(),
    ):
        np.testing.assert_array_equal(gittins_index(same, EDGES, 0, 0), expected)


def test_no_rows_and_one_bin() -> None:
    assert gittins_index(np.empty((0, 3)), EDGES, 0, []).shape == (0,)
    assert gittins_index([[0.3]], [8], 0, 0, cost=TOKENS)[0] == pytest.approx(8, rel=1e-15)


GOOD: dict[str, Any] = {"pmf": np.ones((2, 3)), "support": EDGES, "age": 0, "prompt_len": 5}
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pmf": [[1, 1, 1], [1, 1, NAN]]}, r"pmf row 1, column 2 is nan"),
        ({"pmf": [[1, INF, 1], [1, 1, 1]]}, r"pmf row 0, column 1 is inf"),
        ({"pmf": [[1, 1, 1], [-0.5, 1, 1]]}, r"pmf row 1, column 0 is -0.5"),
        (
            {"pmf": np.array([[1, 1, 1], [1, -2, 1]], dtype=np.float32)},
            r"pmf row 1, column 1 is -2",
        ),
        ({"pmf": np.full((2, 3), 1e308)}, r"pmf row 0 sums to inf"),
        ({"pmf": np.ones(3)}, r"pmf has shape \(3,\).*\(N, 3\)"),
        ({"pmf": np.ones((2, 4))}, r"pmf has shape \(2, 4\).*\(N, 3\)"),
        ({"pmf": np.ones((1, 2, 3))}, r"pmf has shape \(1, 2, 3\)"),
        ({"age": [0, -1]}, r"age row 1 is -1"),
        ({"age": NAN}, r"age row 0 is nan"),
        ({"age": 2.0**41}, r"age row 0 .*2\^40"),
        ({"age": [1, 2, 3]}, r"age has shape \(3,\).*\(2,\)"),
        ({"age": [[1, 2]]}, r"age has shape \(1, 2\)"),
        ({"prompt_len": [3, INF]}, r"prompt_len row 1 is inf"),
        ({"prompt_len": -1}, r"prompt_len row 0 is -1"),
        ({"cached_len": [NAN, 0]}, r"cached_len row 0 is nan"),
        ({"cached_len": -3}, r"cached_len row 0 is -3"),
        ({"support": [50, 50, 60]}, r"support column 1 is 50, not above column 0"),
        ({"support": [60, 50, 70]}, r"support column 1 is 50"),
        ({"support": [0, 50, 60]}, r"support column 0 is 0"),
        ({"support": [1, 2, INF]}, r"support column 2 is inf"),
        ({"support": [1, NAN, 3]}, r"support column 1 is nan"),
        ({"support": [[1, 2, 3]]}, r"support has shape \(1, 3\)"),
        ({"support": [], "pmf": np.ones((2, 0))}, r"support is empty"),
    ],
)
def test_bad_values_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gittins_index(**{**GOOD, **change})


@pytest.mark.parametrize("name", ["pmf", "support", "age", "prompt_len", "cached_len"])
@pytest.mark.parametrize("value", ["0.5", ["a"], None, 1j, object(), [[1], [1, 2]], True])
def test_not_numbers(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=name):
        gittins_index(**{**GOOD, name: value})


@pytest.mark.parametrize(
    ("coefficients", "error", "message"),
    [
        ({"token": -1}, ValueError, "token is -1"),
        ({"memory": NAN}, ValueError, "memory is nan"),
        ({"prefill": INF}, ValueError, "prefill is inf"),
        ({"prefill": 1e31}, ValueError, "prefill is 1e[+]31"),
        ({"memory": 0}, ValueError, "all coefficients are 0"),
        ({"token": "1"}, TypeError, "token is '1'"),
        ({"token": True}, TypeError, "token is True"),
    ],
)
def test_bad_cost_models(
    coefficients: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        CostModel(**coefficients)
