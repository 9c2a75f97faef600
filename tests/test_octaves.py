"""Powers of two without a C library: ``sagesched.plugin.octaves``."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagesched.plugin.octaves import PARTS, log2, power2

VALUES = st.floats(1.0, 2.0**40)


@given(VALUES)
def test_the_logarithm_is_close(value: float) -> None:
    assert log2(value) == pytest.approx(math.log2(value), abs=0.0014)


@given(VALUES, VALUES)
def test_the_logarithm_does_not_fall(one: float, other: float) -> None:
    assert log2(min(one, other)) <= log2(max(one, other))


@given(st.integers(-400, 400))
def test_powers_are_right_and_the_logarithm_hits_them(eighths: int) -> None:
    assert power2(eighths) == pytest.approx(2.0 ** (eighths / PARTS), rel=1e-15)
    assert log2(power2(eighths)) == eighths / PARTS
