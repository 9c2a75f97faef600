"""The core's sums: rounded once, as Python's own, and plain numbers from anyone's lists."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sagesched._core import exact_dot, exact_sum, plain_numbers

moderate = st.floats(-1e150, 1e150)


@given(st.lists(st.floats(-1e300, 1e300), max_size=80))
def test_as_math_fsum(values: list[float]) -> None:
    assert exact_sum(np.array(values, dtype=np.float64)).hex() == math.fsum(values).hex()


@pytest.mark.parametrize(
    "values",
    [
        [],
        [0.1] * 10,
        [1e16, 1.0, -1e16],
        [1.0, 1e100, 1.0, -1e100],
        [2.0**53, 1.0, 2.0**-60],  # half way, and a little more
        [2.0**53, 1.0, -(2.0**-60)],
        [5e-324, 5e-324],
        [-0.0, -0.0],
        [1.0, -1.0, -0.0],
    ],
)
def test_as_math_fsum_where_it_is_hard(values: list[float]) -> None:
    assert exact_sum(np.array(values)).hex() == math.fsum(values).hex()


@given(hnp.arrays(np.float64, st.tuples(st.just(2), st.integers(0, 80)), elements=moderate))
def test_a_product_is_rounded_before_it_is_added(pair: np.ndarray) -> None:
    assert exact_dot(*pair) == math.fsum((pair[0] * pair[1]).tolist())


def test_what_is_no_number_stays_none() -> None:
    assert exact_sum(np.array([1.0, math.inf])) == math.inf
    assert exact_sum(np.array([1e308, 1e308, 1.0])) == math.inf
    assert math.isnan(exact_sum(np.array([math.inf, -math.inf, 1.0])))
    assert math.isnan(exact_sum(np.array([math.nan, 1.0])))


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="one dimension"):
        exact_sum(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"\(3,\)"):
        exact_dot(np.zeros(3), np.zeros(4))


def test_only_float64_is_read() -> None:
    for strange in (np.zeros(3, np.float32), np.array(["1"]), np.array([1j]), [1.0]):
        with pytest.raises(TypeError):
            exact_sum(strange)  # type: ignore[arg-type]


def test_plain_numbers() -> None:
    found = plain_numbers([1, 0.5, -2])
    assert found is not None
    assert found.dtype == np.float64
    assert found.tolist() == [1.0, 0.5, -2.0]
    assert plain_numbers((3,)) is not None
    for strange in (True, "0.5", None, np.float64(0.5), [1.0]):
        assert plain_numbers([0.5, strange]) is None
    with pytest.raises(OverflowError):
        plain_numbers([10**400])
    with pytest.raises(TypeError):
        plain_numbers(5)  # type: ignore[arg-type]
