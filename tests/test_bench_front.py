"""What the front's report says of its targets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bench.front.compare import beaten
from bench.front.rows import FIELDS, PARKED_S, SETTINGS, Line, Setting
from bench.front.targets import RATE, verdicts

HETERO = SETTINGS[0]
BY_NAME = {setting.name: setting for setting in SETTINGS}


def row(predictor: str = "law", **ratios: float) -> Any:
    """As many times fcfs's figures, which are 1."""
    values = dict.fromkeys((*FIELDS.values(), RATE, "max_stall_s"), 1.0)
    return SimpleNamespace(predictor=predictor, **(values | ratios))


def said(setting: Setting = HETERO, **ratios: float) -> list[str]:
    """Of the default, over two seeds."""

    def rows_of(setting: Setting, line: Line) -> dict[int, Any]:
        if line is setting.baseline:
            return {1: row(), 2: row()}
        return {1: row(**ratios), 2: row(**ratios)} if line == setting.lines[1] else {}

    return list(verdicts(rows_of, setting))


def test_what_is_reached_is_said_with_its_figures() -> None:
    (line,) = said(mean_ttlt_s=0.6, p99_ttlt_s=1.0)
    assert "mean 0.600 of 0.61; P99 1.000 of 1.05" in line
    assert line.endswith("| yes | 2 |")


@pytest.mark.parametrize(
    ("missed", "ratios"),
    [
        ("mean", {"mean_ttlt_s": 0.62}),
        ("P99", {"p99_ttlt_s": 1.06}),
        ("mean TPOT, P99 TPOT", {"mean_tpot_s": 1.2, "p99_tpot_s": 1.6}),
        ("rate", {RATE: 0.97}),
        ("stall", {"max_stall_s": PARKED_S + 0.1}),
    ],
)
def test_what_is_missed_is_named(missed: str, ratios: dict[str, float]) -> None:
    (line,) = said(**({"mean_ttlt_s": 0.6} | ratios))
    assert f"| **no**: {missed} |" in line


def test_where_nothing_may_be_worse_no_looser_target_counts() -> None:
    (line,) = said(BY_NAME["calm"], p99_tpot_s=1.02)
    assert "| **no**: P99 TPOT |" in line


@pytest.mark.parametrize("name", ["hetero", "chat"])
@pytest.mark.parametrize(("ours", "verdict"), [(0.8, "yes"), (0.95, "**no**")])
def test_published_policies_meet_ours_that_know_as_much(
    name: str, ours: float, verdict: str
) -> None:
    setting = BY_NAME[name]
    known = setting.lines[1].predictor

    def rows_of(_: Setting, line: Line) -> dict[int, Any]:
        if line.policy == "gittins":
            better = ours if line.predictor == known else 0.1
            return {1: row(line.predictor, mean_ttlt_s=better)}
        mean = 1.0 if line is setting.baseline else 0.9
        return {1: row(known, mean_ttlt_s=mean)} if line.name in ("fcfs", "lpm") else {}

    (line,) = beaten(rows_of, setting)
    assert line.startswith(f"| lpm | 0.900 at 1.000 | {verdict} | gittins, ")


def test_each_setting_that_is_to_reach_something_says_by_whom() -> None:
    for setting in SETTINGS:
        assert bool(setting.targets) == (not setting.wanted.startswith("nothing: ")), setting.name
        assert set(setting.targets) <= set(setting.lines)
