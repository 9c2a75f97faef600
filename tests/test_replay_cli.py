"""``sagesched replay``: flags, files and words, on a fake engine."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sagesched.replay.backend import RealBackend, StepTimeSpec
from sagesched.replay.cli import run
from sagesched.replay.fitted import FittedStepTime, Line
from sagesched.replay.plan import make_plan
from sagesched.replay.report.trust import _predictions
from sagesched.replay.session import Session, run_tasks
from sagesched.replay.table import notes
from sagesched.replay.tasks import MakeWorker, Run, Saturation
from tests.replay_fakes import FakeBackend, parsed

QUICK = ("--workload", "hetero", "--n", "120", "--load", "0.7,1.2", "--seeds", "2", "--jobs", "2")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, **backend: Any) -> str:
    """The error message of arguments that must be refused before anything starts."""
    assert run(parsed(*arguments), FakeBackend(**backend)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert not multiprocessing.active_children()
    return captured.err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--policies", "fcfs,nope"], ["nope", "fcfs", "shortest", "oracle-shortest"]),
        (["--policies", ","], ["--policies"]),
        (["--predictor", "psychic"], ["psychic", "shipped", "law", "prior", "oracle"]),
        (["--load", "0.8,x"], ["'x'", "--load"]),
        (["--load", "0"], ["--load"]),
        (["--load", "inf"], ["--load"]),
        (["--n", "0"], ["--n", "at least 1"]),
        (["--seeds", "0"], ["--seeds"]),
        (["--seed-base", "-1"], ["--seed-base"]),
        (["--warmup", "1"], ["--warmup"]),
        (["--jobs", "0"], ["--jobs"]),
        (["--pool", "0"], ["--pool"]),
        (["--pool", "1"], ["--pool", "too small"]),
        (["--pool", "15", "--page-size", "16"], ["--page-size", "too small"]),
        (["--max-running", "0"], ["--max-running"]),
        (["--page-size", "0"], ["--page-size"]),
        (["--conservativeness", "0"], ["--conservativeness"]),
        (["--conservativeness", "inf"], ["--conservativeness"]),
        (["--content", __file__], ["--content", "chat"]),
        (["--set", "margin=nan", "--policies", "shortest"], ["'nan'"]),
        (["--json", "same.out", "--report", "./same.out"], ["--json", "--report"]),
        (["--gpu", "abacus"], ["abacus", "h100"]),
        (["--step-time", "no-such-file"], ["no-such-file"]),
        (["--step-time", __file__, "--gpu", "h100"], ["--step-time", "--gpu"]),
        (["--set", "margin"], ["KEY=VALUE"]),
        (["--set", "nope=1", "--policies", "shortest"], ["nope", "shortest.margin"]),
        (["--set", "margin=x", "--policies", "shortest"], ["'x'"]),
        (["--set", "fcfs.margin=1", "--policies", "fcfs"], ["have none"]),
        (["--report", "no/such/folder/out.html"], ["--report", "folder"]),
        (["--json", "."], ["--json"]),
        (["--format", "azure"], ["--format", "--trace"]),
        (["--demo", "--trace", __file__], ["--demo"]),
        (["--trace", "no-such-trace"], ["no-such-trace"]),
        (["--trace", __file__, "--predictor", "law"], ["law"]),
        (["--trace", __file__], ["--load"]),  # no recorded rate
    ],
)
def test_bad_flags_are_refused_with_what_is_valid(
    flags: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    source = [] if "--trace" in flags else ["--workload", "hetero"]
    message = refused(capsys, *source, "--policies", "fcfs", *flags)
    assert all(word in message for word in words), message


def test_a_source_is_needed_and_must_be_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--demo" in refused(capsys, "--policies", "fcfs")
    assert "hetero, tiny" in refused(capsys, "--workload", "x", "--policies", "fcfs")


def test_without_sglang_it_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, *QUICK, "--policies", "fcfs", missing="pip install sglang==0.5.23")
    assert "pip install sglang==0.5.23" in message


def test_the_real_backend_names_the_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("sagesched.replay.backend.version", version)
    with pytest.raises(RuntimeError, match="pip install sglang==0"):
        RealBackend().versions()


def test_importing_the_command_is_cheap() -> None:
    code = (
        "import sys, sagesched.replay.cli, sagesched.replay.plan, sagesched.replay.report.html;"
        "print([m for m in ('sglang', 'torch', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_defaults_depend_on_where_the_requests_come_from() -> None:
    generated = make_plan(parsed("--workload", "hetero", "--policies", "fcfs"), FakeBackend())
    assert generated.loads == (0.8, 1.0, 1.1)
    assert generated.seeds == (100, 101, 102)
    assert generated.scenario.engine.pool_tokens == 4321
    recorded = make_plan(
        parsed("--trace", __file__, "--policies", "fcfs"), FakeBackend(recorded_rate_rps=3.0)
    )
    assert (recorded.loads, recorded.seeds) == ((), (0,))
    demo = make_plan(
        parsed("--demo", "--policies", "fcfs", "--seeds", "4", "--pool", "99"), FakeBackend()
    )
    assert (len(demo.seeds), demo.scenario.engine.pool_tokens) == (4, 99)
    assert demo.scenario.engine.mixed
    assert demo.report_file is not None


@dataclass(frozen=True)
class Calibrated(FakeBackend):
    """Its step times were fitted to a running server."""

    def step_time(self, spec: StepTimeSpec) -> Any:
        still = Line(0.0, 0.01, (0.0, 0.0))
        prompt = Line(0.0, 0.01, (0.0, 0.0, 0.0))
        server = {"pool_tokens": 777, "max_running": 9, "mixed": True, "replicas": 1, "model": "m"}
        return FittedStepTime("fitted", still, prompt, engine=server)


def test_a_calibrated_servers_settings_stand_for_flags_that_were_left_out() -> None:
    flags = ("--workload", "hetero", "--policies", "fcfs")
    engine = make_plan(parsed(*flags), Calibrated()).scenario.engine
    assert (engine.pool_tokens, engine.max_running, engine.mixed) == (777, 9, True)
    assert engine.chunk == 8_192  # not in the file
    other = make_plan(parsed(*flags, "--pool", "5", "--no-mixed"), Calibrated()).scenario.engine
    assert (other.pool_tokens, other.max_running, other.mixed) == (5, 9, False)


def test_a_trace_without_loads_runs_as_recorded() -> None:
    plan = make_plan(
        parsed("--trace", __file__, "--policies", "fcfs"), FakeBackend(recorded_rate_rps=3.0)
    )
    (task,) = run_tasks(
        plan, dict.fromkeys(plan.seeds, Saturation(rate_rps=4.0, served=10, refused=0))
    )
    assert (task.load, task.rate_rps, task.seed) == (0.75, 3.0, 0)


def test_settings_go_to_the_policies_that_have_them() -> None:
    flags = ["--workload", "hetero", "--policies", "fcfs,shortest,oracle-shortest"]
    flags += ["--set", "margin=3", "--set", "oracle-shortest.cap=7"]
    plan = make_plan(parsed(*flags), FakeBackend())
    assert plan.policy_settings == {
        "fcfs": (),
        "shortest": (("margin", 3.0),),
        "oracle-shortest": (("cap", 7.0), ("margin", 3.0)),
    }
    assert plan.predictors == {"fcfs": "none", "shortest": "shipped", "oracle-shortest": "oracle"}
    assert plan.yardsticks == {"oracle-shortest"}


def test_an_infinite_setting_is_written_and_a_broken_report_costs_only_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(session: Session) -> str:
        raise KeyError("a bug")

    monkeypatch.setattr("sagesched.replay.report.html.report_html", broken)
    file, page = tmp_path / "rows.json", tmp_path / "page.html"
    flags = [*QUICK, "--policies", "fcfs,shortest", "--set", "margin=inf"]
    assert run(parsed(*flags, "--json", str(file), "--report", str(page)), FakeBackend()) == 1
    written = json.loads(file.read_text())
    assert written["settings"]["policy_settings"] == {"shortest": {"margin": "inf"}}
    assert written["settings"]["loads"] == [0.7, 1.2]
    assert "cannot make" in capsys.readouterr().err
    assert not page.exists()


def test_missing_seeds_and_cut_outputs_are_told() -> None:
    plan = make_plan(parsed(*QUICK, "--policies", "fcfs,shortest"), FakeBackend())
    backend = FakeBackend()
    worker = MakeWorker(backend)(plan.scenario.engine)
    saturations = dict.fromkeys(plan.seeds, Saturation(4.0, 120, 0))
    runs = [worker(task) for task in run_tasks(plan, saturations)]
    session = Session(plan, saturations, [run for run in runs if isinstance(run, Run)])
    assert not any("seed by seed" in note or "cut short" in note for note in notes(session))
    del session.runs[0]
    row = session.runs[0].row
    row.extra["cut"] = 3
    assert any("not every policy has every seed" in note for note in notes(session))
    assert any("3 outputs of a run were cut short" in note for note in notes(session))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_costs_only_the_file_on_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "out.html"
    flags = [*QUICK, "--policies", "fcfs", "--json", "/dev/full", "--report", str(report)]
    assert run(parsed(*flags), FakeBackend()) == 1
    output = capsys.readouterr()
    assert "cannot write /dev/full: No space left" in output.err
    assert "JSON:" not in output.out
    assert report.exists()


def test_a_recorded_rate_far_below_saturation_is_kept() -> None:
    plan = make_plan(
        parsed("--trace", __file__, "--policies", "fcfs"), FakeBackend(recorded_rate_rps=0.01)
    )
    (task,) = run_tasks(plan, dict.fromkeys(plan.seeds, Saturation(942.117, 9, 0)))
    assert task.load * 942.117 == pytest.approx(0.01, rel=1e-5)


def test_too_few_requests_for_a_saturation_are_told() -> None:
    plan = make_plan(parsed(*QUICK, "--policies", "fcfs"), FakeBackend())
    few, enough = (Session(plan, {0: Saturation(1.0, served, 0)}) for served in (60, 2000))
    assert any("saturation was measured on 60" in note for note in notes(few))
    assert not any("saturation was measured" in note for note in notes(enough))


@pytest.mark.parametrize(("kind", "words"), [("oracle", "true lengths"), ("law", "no server")])
def test_the_report_says_when_predictions_are_no_servers(kind: str, words: str) -> None:
    flags = [*QUICK, "--policies", "fcfs,shortest", "--predictor", kind]
    assert words in _predictions(make_plan(parsed(*flags), FakeBackend()))
