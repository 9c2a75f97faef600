"""The comparison of replay and real server: it sees what it must, and nothing else."""

from __future__ import annotations

from bench.validation.compare import compare, failures, single_misses, table
from bench.validation.runs import HEAVY, POLICIES, SCENARIOS, Scenario, Times, arrivals_of, key

FACTORS = dict(zip(POLICIES, (1.0, 0.9, 0.6), strict=True))


def _runs(scale: float = 1.0, **changed: float) -> dict[str, Times]:
    """Runs whose times are ``scale`` times those of the real server, some policies' others."""
    factors = {policy: scale * changed.get(policy, FACTORS[policy]) for policy in POLICIES}
    return {
        key(policy, scenario): Times([factors[policy] * t for t in range(1, 101)], [0.5], 0.016)
        for policy in POLICIES
        for scenario in SCENARIOS
    }


REAL = _runs()


def test_equal_runs_pass_and_small_errors_too() -> None:
    assert failures(compare(REAL, _runs())) == []
    assert failures(compare(REAL, _runs(1.14))) == []


def test_times_off_by_more_than_the_bar_are_named() -> None:
    missed = failures(compare(REAL, _runs(1.16)))
    assert len(missed) == 12  # mean and P95 of three policies at two loads; ratios are right
    assert "fcfs, at once: mean_ttlt_s off by +16.0%" in missed


def test_a_ratio_and_an_order_that_are_off_are_named() -> None:
    rows = compare(REAL, _runs(lpm=1.02))
    missed = failures(rows)
    assert "lpm, load 1.1: ratio to fcfs off by +0.12" in missed
    assert any(line.startswith("load 1.1: order") for line in missed)
    assert len(single_misses(rows)) == 3


def test_one_seed_of_three_may_be_off_but_is_told() -> None:
    runs = _runs()
    odd = Scenario(HEAVY, 1)
    runs[key("lpm", odd)] = Times([1.1 * t for t in runs[key("lpm", odd)].ttlt], [0.5])
    runs[key("gittins", odd)] = Times([1.25 * t for t in runs[key("gittins", odd)].ttlt], [0.5])
    rows = compare(REAL, runs)
    assert failures(rows) == []
    assert single_misses(rows) == ["gittins, seed 1: 0.60 on the server, 0.75 in replay"]


def test_the_table_has_a_row_per_run() -> None:
    lines = table(compare(REAL, _runs(), [_runs(gittins=0.5), _runs(gittins=0.7)])).splitlines()
    assert len(lines) == 2 + 3 * len(SCENARIOS)
    assert "| gittins, load 0.8, seed 0" in lines[7]
    assert "0.50 / 0.70" in lines[7]


def test_both_sides_get_the_same_arrivals() -> None:
    assert arrivals_of(Scenario(None, 0), 3, 5.0) == [0.0] * 3
    slow, fast = (arrivals_of(Scenario(load, 1), 100, 5.0) for load in (0.8, HEAVY))
    assert slow == arrivals_of(Scenario(0.8, 1), 100, 5.0)
    assert abs(slow[-1] / fast[-1] - HEAVY / 0.8) < 1e-9
    assert slow != arrivals_of(Scenario(0.8, 2), 100, 5.0)
