"""The comparison of replay and real server: it sees what it must, and nothing else."""

from __future__ import annotations

from bench.validation.compare import compare, failures, table
from bench.validation.runs import LOADS, POLICIES, Real, Times, arrivals_of, key

FACTORS = dict(zip(POLICIES, (1.0, 0.9, 0.6), strict=True))


def _runs(scale: float = 1.0, **changed: float) -> dict[str, Times]:
    """Runs whose times are ``scale`` times those of the real server, some policies' others."""
    factors = {policy: scale * changed.get(policy, FACTORS[policy]) for policy in POLICIES}
    return {
        key(policy, load): Times([factors[policy] * t for t in range(1, 101)], [0.5], 0.016)
        for policy in POLICIES
        for load in LOADS
    }


REAL = Real(seed=1, requests=100, saturation_rps=5.0, runs=_runs())


def test_equal_runs_pass_and_small_errors_too() -> None:
    assert failures(compare(REAL, _runs())) == []
    assert failures(compare(REAL, _runs(1.14))) == []


def test_times_off_by_more_than_the_bar_are_named() -> None:
    missed = failures(compare(REAL, _runs(1.16)))
    assert len(missed) == 12  # mean and P95 of three policies at two loads; ratios are right
    assert "fcfs, at once: mean_ttlt_s off by +16.0%" in missed


def test_a_ratio_and_an_order_that_are_off_are_named() -> None:
    missed = failures(compare(REAL, _runs(lpm=1.02)))
    assert "lpm, load 1.1: ratio to fcfs off by +0.12" in missed
    assert any(line.startswith("load 1.1: order") for line in missed)


def test_the_table_has_a_row_per_run() -> None:
    lines = table(compare(REAL, _runs())).splitlines()
    assert len(lines) == 2 + 9
    assert "| gittins, load 0.8" in lines[7]


def test_both_sides_get_the_same_arrivals() -> None:
    assert arrivals_of(REAL, None) == [0.0] * 100
    assert arrivals_of(REAL, 0.8) == arrivals_of(REAL, 0.8)
    slow, fast = arrivals_of(REAL, 0.8)[-1], arrivals_of(REAL, 1.1)[-1]
    assert abs(slow / fast - 1.1 / 0.8) < 1e-9
