"""The standing comparison: its order, store, checks and report, on a fake engine."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.bench_replay import main
from bench.replay import cells, machine
from bench.replay.cells import CELLS, MORE_POLICIES, POLICIES, plan
from bench.replay.checked import WrongRunError, check_result
from bench.replay.store import Store
from sagesched.replay.backend import BoundInputs
from sagesched.replay.engine import EngineConfig
from sagesched.replay.policies.registry import all_policies
from sagesched.replay.result import RunResult
from tests.replay_fakes import FakeBackend, FakeHarness, FakeStepTime, FakeWorkload

QUICK = (
    "--quick",
    "--jobs",
    "1",
    "--n",
    "60",
    "--workloads",
    "hetero",
    "--policies",
    "fcfs,shortest",
)
RUNS = 4 * 4 * 2  # cells of hetero in --quick, loads, policies


class Sound(FakeHarness):
    """Runs that pass all checks."""

    def run(self, *arguments: Any, **named: Any) -> RunResult:
        result = super().run(*arguments, **named)
        return replace(result, refused=0, fallbacks=0)


class Short(Sound):
    """Under ``shortest`` an output lacks its last token."""

    def run(self, *arguments: Any, **named: Any) -> RunResult:
        result = super().run(*arguments, **named)
        lost = int(named["policy"] == "shortest")
        return replace(result, output_tokens=result.output_tokens - lost)


@dataclass(frozen=True)
class Works(FakeBackend):
    def harness(self, engine: EngineConfig) -> FakeHarness:
        return Sound(engine)


class LosesTokens(Works):
    def harness(self, engine: EngineConfig) -> FakeHarness:
        return Short(engine)


class Unbelievable(Works):
    def lower_bound_mean_ttlt_s(self, asked: BoundInputs) -> float:
        return 1e6


class Broken(Works):
    def harness(self, engine: EngineConfig) -> FakeHarness:
        raise RuntimeError("must not be asked")


class OtherSglang(Broken):
    def versions(self) -> dict[str, str]:
        return {"sagesched": "1", "sglang": "3"}


def bench(folder: Path, backend: FakeBackend, *more: str) -> tuple[int, str, dict[str, Any]]:
    """Exit status, Markdown and JSON of a comparison kept in the folder."""
    where = ("--store", str(folder / "runs.jsonl"), "--out", str(folder), "--data", str(folder))
    status = main([*QUICK, *where, *more], backend)
    report = json.loads((folder / "replay.json").read_text())
    return status, (folder / "replay.md").read_text(), report


def test_a_comparison_is_complete_and_is_not_done_again(tmp_path: Path) -> None:
    status, text, report = bench(tmp_path, Works())
    assert status == 0
    assert len(report["rows"]) == RUNS
    assert report["missing"] == 0
    assert text.count("## hetero") == 4
    assert "## What is missing\n\nNothing." in text
    rows = {(r["policy"], r["load"]): r for r in report["rows"] if r["engine"]["mixed"]}
    assert rows["shortest", 1.1]["mean_ttlt_s"] < rows["fcfs", 1.1]["mean_ttlt_s"]

    again, _, second = bench(tmp_path, Broken())  # would fail if it did a run
    assert again == 0
    assert second["rows"] == report["rows"]


@pytest.fixture
def one_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every change of the engine starts a process, which takes time."""
    monkeypatch.setattr(cells, "CELLS", CELLS[:1])


@pytest.mark.usefixtures("one_cell")
def test_other_code_is_compared_anew(tmp_path: Path) -> None:
    bench(tmp_path, Works())
    status, _, report = bench(tmp_path, OtherSglang())
    assert status == 1
    assert report["rows"] == []
    assert any("must not be asked" in line for line in report["failures"])


def test_what_the_budget_did_not_reach_is_said(tmp_path: Path) -> None:
    status, text, report = bench(tmp_path, Broken(), "--budget-min", "0")
    assert status == 0
    assert report["missing"] == RUNS
    assert re.search(
        r"hetero, 60k/64, mixed prefill: .*2 of 2 runs at load 1.1: the budget was spent", text
    )


@pytest.mark.usefixtures("one_cell")
def test_a_run_that_lost_tokens_does_not_count(tmp_path: Path) -> None:
    status, text, report = bench(tmp_path, LosesTokens())
    assert status == 1
    assert {row["policy"] for row in report["rows"]} == {"fcfs"}
    assert "wrong length" in text
    assert report["missing"] == 4


@pytest.mark.usefixtures("one_cell")
def test_a_mean_below_the_bound_does_not_count(tmp_path: Path) -> None:
    status, text, report = bench(tmp_path, Unbelievable())
    assert status == 1
    assert report["rows"] == []
    assert "below the lower bound" in text


def test_absent_traces_are_left_out_and_named(tmp_path: Path) -> None:
    _, text, _ = bench(tmp_path, Works(), "--workloads", "hetero,mooncake", "--budget-min", "0")
    assert "mooncake, 400k/256, mixed prefill: left out" in text
    assert "mooncake_conversation.jsonl.gz" in text


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--policies", "nope"], ["nope", "fcfs", "shortest"]),
        (["--workloads", "nope"], ["nope", "hetero"]),
        (["--workloads", "mooncake"], ["nothing to compare", "--data"]),
        (["--n", "0"], ["--n"]),
    ],
)
def test_bad_flags(
    flags: list[str], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--store", str(tmp_path / "runs.jsonl"), "--out", str(tmp_path)]
    assert main([*QUICK, *where, "--data", str(tmp_path), *flags], Works()) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words)
    assert not (tmp_path / "replay.md").exists()


def test_checks_of_a_run() -> None:
    trace = list(FakeWorkload(40).requests(seed=1, rate_rps=5.0))
    result = Sound(EngineConfig()).run(
        trace, policy="fcfs", step_time=FakeStepTime(), predictions=None, settings=None,
        max_output_tokens=400,
    )  # fmt: skip
    check_result(result, 40, 400)
    with pytest.raises(WrongRunError, match="41 requests arrived, 40"):
        check_result(result, 41, 400)
    with pytest.raises(WrongRunError, match="wrong length"):
        check_result(result, 40, 300)  # should have been cut
    cut = replace(result, output_tokens=np.minimum(result.output_tokens, 300))
    check_result(cut, 40, 300)
    with pytest.raises(WrongRunError, match="2 errors of the policy: it broke"):
        check_result(replace(result, fallbacks=2, notes=("it broke",)), 40, 400)


def test_the_plan_is_everything_once_and_the_most_informative_first() -> None:
    runs = plan(CELLS, (*POLICIES, *MORE_POLICIES), (200, 201))
    assert len(runs) == len(CELLS) * 4 * (len(POLICIES) + len(MORE_POLICIES)) * 2
    assert len({(r.cell, r.policy, r.load, r.seed) for r in runs}) == len(runs)
    assert [r.rank for r in runs] == sorted(r.rank for r in runs)
    first = runs[: len(POLICIES)]
    assert {r.policy for r in first} == set(POLICIES)
    assert {(r.cell, r.load, r.seed) for r in first} == {(CELLS[0], 1.1, 200)}
    engines = [(r.rank, r.cell.mixed, r.cell.pool_tokens, r.cell.context) for r in runs]
    changes = sum(one != other for one, other in pairwise(engines))
    assert changes + 1 == len(set(engines))  # an engine is started once for what is equally urgent


def test_compared_policies_exist() -> None:
    assert {*POLICIES, *MORE_POLICIES} <= set(all_policies())


def test_a_change_makes_only_those_results_invalid_that_it_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of the sources is edited, a file at a time."""
    for folder in machine.SOURCES:
        shutil.copytree(machine.REPOSITORY / folder, tmp_path / folder)
    monkeypatch.setattr(machine, "REPOSITORY", tmp_path)
    policies = all_policies()

    def codes() -> dict[str, str]:
        machine._source_files.cache_clear()
        return dict(machine.origin("1", policies).codes)

    def changed_by(file: str) -> set[str]:
        before = codes()
        (tmp_path / file).write_text((tmp_path / file).read_text() + "\n# changed\n")
        after = codes()
        return {name for name in policies if before[name] != after[name]}

    told = {name for name, policy in policies.items() if policy.uses == "distribution"}
    ours = {name for name, policy in policies.items() if policy.flag in ("gittins", "larry")}
    package = "python/sagesched"
    assert changed_by(f"{package}/replay/table.py") == set()
    assert changed_by(f"{package}/replay/run.py") == set(policies)
    assert changed_by(f"{package}/replay/policies/preempt.py") == set(policies)
    assert changed_by(f"{package}/replay/policies/ssjf.py") == {"ssjf"}
    assert changed_by(f"{package}/predict/trend.py") == told
    assert changed_by("csrc/src/gittins.cpp") == told | ours
    assert changed_by(f"{package}/plugin/table.py") == ours
    assert changed_by(f"{package}/plugin/larry.py") == ours
    assert "fcfs" not in told | ours


def test_a_torn_line_is_dropped_and_the_store_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    store = Store(file)
    store.add({"seed": 1}, {"row": 10})
    store.add({"seed": 2}, {"row": 20})
    file.write_text(file.read_text()[:-7])
    store = Store(file)
    assert store.get({"seed": 2}) is None
    store.add({"seed": 3}, {"row": 30})
    store = Store(file)
    assert len(store) == 2
    assert store.get({"seed": 1}) == {"key": {"seed": 1}, "row": 10}
    assert store.get({"seed": 3}) == {"key": {"seed": 3}, "row": 30}


def test_another_bad_line_is_an_error_with_its_number(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_text('{"key": {"seed": 1}}\nnonsense\n{"key": {"seed": 2}}\n')
    with pytest.raises(ValueError, match=r"runs\.jsonl:2: not a finished run"):
        Store(file)
