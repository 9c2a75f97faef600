"""What the front's report says of its targets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bench.front.rows import SETTINGS, Line, Setting
from bench.front.targets import FIELDS, RATE, verdicts

HETERO = SETTINGS[0]


def row(predictor: str = "law", **ratios: float) -> Any:
    """As many times fcfs's figures, which are 1."""
    values = dict.fromkeys((*FIELDS.values(), RATE), 1.0)
    return SimpleNamespace(predictor=predictor, **(values | ratios))


def said(**ratios: float) -> list[str]:
    """Of the default on `hetero`, over two seeds."""

    def rows_of(setting: Setting, line: Line) -> dict[int, Any]:
        if line is setting.baseline:
            return {1: row(), 2: row()}
        return {1: row(**ratios), 2: row(**ratios)} if line == HETERO.lines[1] else {}

    return list(verdicts(rows_of, HETERO))


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
    ],
)
def test_what_is_missed_is_named(missed: str, ratios: dict[str, float]) -> None:
    (line,) = said(**({"mean_ttlt_s": 0.6} | ratios))
    assert f"| **no**: {missed} |" in line


def test_each_setting_that_is_to_reach_something_says_by_whom() -> None:
    for setting in SETTINGS:
        assert bool(setting.targets) == (not setting.wanted.startswith("nothing: ")), setting.name
        assert set(setting.targets) <= set(setting.lines)
