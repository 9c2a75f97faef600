"""Length grids and distributions: exact edges, consistent bins, and a wire format to distrust."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sagesched.lengths import LengthDistribution, LengthGrid

untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
sizes = st.integers(1, 200_000)


@st.composite
def distributions(draw: st.DrawFn) -> LengthDistribution:
    grid = LengthGrid(draw(st.integers(1, 5000)))
    weights = draw(hnp.arrays(np.float64, len(grid), elements=st.floats(0.0, 1.0)))
    weights[draw(st.integers(0, len(grid) - 1))] += 1.0
    return LengthDistribution(grid, weights / weights.sum())


def test_edges_are_eight_per_octave() -> None:
    edges = LengthGrid(100).edges.tolist()
    assert edges[:16] == list(range(1, 17))
    assert edges[16:24] == list(range(18, 33, 2))
    assert edges[24:32] == list(range(36, 65, 4))
    assert edges[32:] == [72, 80, 88, 96, 100]


@pytest.mark.parametrize(
    ("max_tokens", "bins"), [(1, 1), (2, 2), (16, 16), (17, 17), (131072, 120)]
)
def test_number_of_bins(max_tokens: int, bins: int) -> None:
    assert len(LengthGrid(max_tokens)) == bins


@untimed
@given(sizes)
def test_edges_ascend_and_end_at_the_maximum(max_tokens: int) -> None:
    edges = LengthGrid(max_tokens).edges
    widths = np.diff(edges, prepend=0.0)
    assert edges[-1] == max_tokens
    assert (widths >= 1.0).all()
    assert (widths <= np.maximum(1.0, 0.125 * (edges - widths))).all()


@untimed
@given(sizes, st.integers(-10, 400_000))
def test_bin_of_holds_its_tokens(max_tokens: int, tokens: int) -> None:
    grid = LengthGrid(max_tokens)
    k = grid.bin_of(tokens)
    below = grid.edges[k - 1] if k else -math.inf
    assert below < tokens or k == 0
    assert tokens <= grid.edges[k] or k == len(grid) - 1


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "8", None])
def test_grid_rejects_what_is_no_length(bad: object) -> None:
    with pytest.raises(ValueError, match="max_tokens"):
        LengthGrid(bad)  # type: ignore[arg-type]


def test_equal_grids_are_equal() -> None:
    assert LengthGrid(100) == LengthGrid(100)
    assert hash(LengthGrid(100)) == hash(LengthGrid(100))
    assert LengthGrid(100) != LengthGrid(101)


def test_mean_quantile_and_survival_of_two_points() -> None:
    grid = LengthGrid(16)
    pmf = np.zeros(16)
    pmf[[3, 9]] = 0.75, 0.25  # lengths 4 and 10
    lengths = LengthDistribution(grid, pmf)
    assert lengths.mean() == 5.5
    assert [lengths.quantile(q) for q in (0.5, 0.75, 0.76, 1.0)] == [4, 4, 10, 10]
    assert [lengths.survival(age) for age in (0, 3, 4, 9, 10)] == [1.0, 1.0, 0.25, 0.25, 0.0]


@untimed
@given(distributions(), st.floats(0.0, 1.0))
def test_quantile_is_the_first_edge_with_enough_below(
    lengths: LengthDistribution, q: float
) -> None:
    edge = lengths.quantile(q)
    k = lengths.grid.bin_of(edge)
    assert edge in lengths.grid.edges
    assert lengths.pmf[: k + 1].sum() >= q - 1e-9
    assert k == 0 or lengths.pmf[:k].sum() <= q + 1e-9


@untimed
@given(distributions(), st.integers(0, 6000))
def test_cap_moves_the_mass_above_it(lengths: LengthDistribution, cap: int) -> None:
    capped = lengths.capped(cap)
    k = lengths.grid.bin_of(cap)
    assert capped.pmf[:k] == pytest.approx(lengths.pmf[:k])
    assert capped.pmf[k] == pytest.approx(lengths.pmf[k:].sum())
    assert not capped.pmf[k + 1 :].any()
    assert capped.mean() <= lengths.mean() + 1e-9


@untimed
@given(distributions())
def test_wire_round_trip(lengths: LengthDistribution) -> None:
    wire = lengths.to_wire()
    assert {type(value) for value in wire} == {float}
    again = LengthDistribution.from_wire(wire, LengthGrid(lengths.grid.max_tokens))
    assert again.pmf == pytest.approx(lengths.pmf, abs=1e-15)


BAD_WIRES: list[object] = [
    None,
    "0.5,0.5",
    {"0": 1.0},
    1.0,
    [],
    [1.0],
    [0.5, 0.5, 0.0],
    [0.5] * 1_000_000,
    [math.nan, 1.0],
    [math.inf, 0.0],
    [-0.5, 1.5],
    [10**400, 0],
    ["0.5", "0.5"],
    [True, False],
    [[0.5], [0.5]],
    [None, 1.0],
    [0.4, 0.5],
    [0.0, 0.0],
    [0.6, 0.6],
]


@pytest.mark.parametrize("wire", BAD_WIRES, ids=lambda wire: repr(wire)[:30])
def test_bad_wire_is_a_value_error(wire: object) -> None:
    with pytest.raises(ValueError, match="pmf"):
        LengthDistribution.from_wire(wire, LengthGrid(2))


@untimed
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists))
def test_any_json_value_is_read_or_refused(wire: object) -> None:
    try:
        lengths = LengthDistribution.from_wire(wire, LengthGrid(2))
    except ValueError:
        return
    assert lengths.pmf.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    "pmf", [np.ones(3) / 3, np.array([0.5, 0.6]), np.array([-0.1, 1.1]), np.array([math.nan, 1.0])]
)
def test_bad_pmf_is_a_value_error(pmf: np.ndarray) -> None:
    with pytest.raises(ValueError, match="pmf"):
        LengthDistribution(LengthGrid(2), pmf)


def test_pmf_is_normalised_copied_and_read_only() -> None:
    source = np.array([0.5, 0.5 + 5e-7])
    lengths = LengthDistribution(LengthGrid(2), source)
    source[0] = 7.0
    assert lengths.pmf.sum() == pytest.approx(1.0, abs=1e-15)
    with pytest.raises(ValueError, match="read-only"):
        lengths.pmf[0] = 1.0
