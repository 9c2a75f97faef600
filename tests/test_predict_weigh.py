"""What near records tell, against the same formulas in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagesched import _core
from sagesched.lengths import Floats

RECORDS = 300
WEIGHTS = (2.0, 0.4, 0.02, 0.5, 0.3)


def effective(weights: Floats) -> Floats:
    squares = (weights**2).sum()
    return weights * (weights.sum() / squares) if squares > 0.0 else weights


def drawn(seed: int) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, np.ndarray, float]]:
    """Records of three origins and two groups, some of which are near, some the same prompt."""
    random = np.random.default_rng(seed)
    past = (
        random.normal(5, 1, RECORDS),
        random.normal(size=RECORDS),
        random.random(RECORDS) < 0.8,
        random.integers(0, 3, RECORDS),
        np.array([5.0, 4.0, 6.0]),
        np.array([1.0, 0.5, 2.0]),
        np.array([0, 1, 1]),
    )
    k = int(random.integers(1, 40))
    cosine = np.sort(random.uniform(-0.2, 0.9, k).astype(np.float32))[::-1].copy()
    cosine[: random.integers(0, 3)] = 1.0
    return past, (cosine, random.integers(0, RECORDS, k), float(random.uniform(-0.1, 0.5)))


@settings(deadline=None, max_examples=200)
@given(seed=st.integers(0, 2**32 - 1), foreign=st.booleans(), group=st.integers(-1, 1))
def test_same_as_in_numpy(seed: int, foreign: bool, group: int) -> None:
    past, near = drawn(seed)
    log_tokens, standing, finished, origin, centre, spread, group_of = past
    cosine, slots, usual = near
    sharpness, window, floor, share, other = WEIGHTS

    number = origin[slots]
    say = np.where(group_of[number] == group, 1.0, other)
    plain = (log_tokens[slots] - centre[number]) / spread[number]
    apart = standing[slots] - 0.3
    same = cosine >= 1.0 - 1e-5
    excess = np.maximum(cosine.astype(np.float64) - usual, 0.0)
    most = max(float(np.where(same, 0.0, excess).max()), 1e-6)
    weight = np.minimum(excess / most, 1.0) ** sharpness
    weight *= (np.exp(-0.5 * (apart / window) ** 2) + floor) * say
    weight = effective(weight * finished[slots] if foreign else np.where(same, 0.0, weight))

    found = _core.weigh(past, near, (0.3, 0.1, group), WEIGHTS, foreign)
    assert found[0] == pytest.approx(plain - share * apart + 0.1)
    assert found[1] == pytest.approx(weight)
    assert found[2].tolist() == finished[slots].tolist()
    assert (found[3] is not None) == (same.any() and not foreign)
    if found[3] is not None:
        assert found[3][0] == pytest.approx(plain)
        assert found[3][1] == pytest.approx(np.where(same, say, 0.0))


def test_what_is_no_record_is_refused() -> None:
    past, (cosine, slots, usual) = drawn(0)
    asked = (0.0, 0.0, 0)
    for bad in (-1, RECORDS, 2**62):
        with pytest.raises(ValueError, match="slot"):
            _core.weigh(past, (cosine, np.full_like(slots, bad), usual), asked, WEIGHTS, False)
    for n, name in enumerate(["standing", "finished", "origin", "", "spread", "group"], start=1):
        short = tuple(column[:-1] if n == at else column for at, column in enumerate(past))
        if name:
            with pytest.raises(ValueError, match=f"{name} has shape"):
                _core.weigh(short, (cosine, slots, usual), asked, WEIGHTS, False)
    unknown = (*past[:3], np.full(RECORDS, -1), *past[4:])
    with pytest.raises(ValueError, match="origin -1"):
        _core.weigh(unknown, (cosine, slots, usual), asked, WEIGHTS, False)
    with pytest.raises(ValueError, match="cosine has shape"):
        _core.weigh(past, (cosine[:0], slots, usual), asked, WEIGHTS, False)
