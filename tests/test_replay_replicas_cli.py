"""``sagesched replay --replicas``: flags, rows and words, on a fake engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sagesched.replay.cli import run
from sagesched.replay.cluster.config import ClusterConfig
from sagesched.replay.engine import EngineConfig
from sagesched.replay.plan import make_plan
from sagesched.replay.session import run_tasks
from sagesched.replay.steptime import Scaled, Step
from sagesched.replay.tasks import Saturation, together
from tests.replay_fakes import FakeBackend, FakeStepTime, parsed

SOURCE = ("--workload", "hetero", "--n", "80", "--load", "0.9", "--seeds", "1", "--jobs", "1")
EIGHT = (*SOURCE, "--policies", "fcfs", "--replicas", "8")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--balance", "sal"], ["--balance", "--replicas"]),
        (["--load-delay", "1"], ["--load-delay", "--replicas"]),
        (["--end-delay", "1"], ["--end-delay", "--replicas"]),
        (["--speeds", "1"], ["--speeds", "--replicas"]),
        (["--replicas", "0"], ["--replicas", "at least 1"]),
        (["--replicas", "2", "--balance", "best"], ["'best'", "sal", "round_robin", "oracle"]),
        (["--replicas", "1000000"], ["--replicas", "at most 64"]),
        (["--replicas", "2", "--balance", "sal:output=x"], ["--balance", "KEY=NUMBER"]),
        (["--replicas", "2", "--balance", "sal:colour=1"], ["--balance", "colour"]),
        (["--replicas", "2", "--balance", "sal:blend=7"], ["--balance", "blend"]),
        (["--replicas", "2", "--balance", "sal:replicas=3"], ["--balance", "replicas", "output"]),
        (["--replicas", "2", "--balance", "sal:spec=3"], ["--balance", "spec", "output"]),
        (["--replicas", "2", "--balance", "oracle:output=1"], ["--balance", "no constants"]),
        (["--replicas", "2", "--balance", "best:output=1"], ["'best'", "oracle"]),
        (["--replicas", "2", "--load-delay", "-1"], ["--load-delay"]),
        (["--replicas", "2", "--end-delay", "nan"], ["--end-delay"]),
        (["--replicas", "2", "--speeds", "1,x"], ["--speeds", "'x'"]),
        (["--replicas", "2", "--speeds", "1,1e-300"], ["--speeds", "1e-300", "0.001 to 1000"]),
        (["--replicas", "2", "--speeds", "1e300"], ["--speeds", "1e+300", "0.001 to 1000"]),
        (["--replicas", "2", "--speeds", "1,1,1"], ["--speeds", "3 values for 2"]),
        (["--replicas", "2", "--pools", "0.5"], ["--pools", "at least 1"]),
        (["--gap-cv", "4", "--arrivals", "poisson"], ["--arrivals", "--gap-cv"]),
    ],
)
def test_bad_flags_are_refused_with_what_is_valid(
    flags: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(parsed(*SOURCE, "--policies", "fcfs", *flags), FakeBackend()) == 2
    message = capsys.readouterr().err
    assert all(word in message for word in words), message


def test_the_plan_of_a_cluster() -> None:
    flags = ["--speeds", "1,0.5", "--pools", "4000,8000,6000", "--load-delay", "0.5"]
    flags += ["--end-delay", "0.25"]
    plan = make_plan(parsed(*EIGHT, *flags, "--gap-cv", "4", "--balance", "sal,random"), FakeBackend())  # fmt: skip  # noqa: E501
    cluster = plan.scenario.cluster
    assert cluster is not None
    assert cluster.speeds == (1, 0.5) * 4
    assert cluster.pools == (4000, 8000, 6000, 4000, 8000, 6000, 4000, 8000)
    assert (cluster.load_delay_s, cluster.end_delay_s) == (0.5, 0.25)
    assert plan.scenario.workload.arrivals == "gamma:4.0"
    assert plan.baseline == "fcfs, sal"
    assert plan.predictors == {"fcfs, sal": "shipped", "fcfs, random": "none"}
    one = make_plan(parsed(*SOURCE, "--policies", "fcfs"), FakeBackend())
    assert (one.scenario.cluster, one.baseline) == (None, "fcfs")


def test_load_is_a_share_of_the_summed_saturations() -> None:
    plan = make_plan(parsed(*EIGHT), FakeBackend())
    parts = [(Saturation(10.0, 90, 10), 6.0), (Saturation(4.0, 80, 20), 2.0)]
    found = together(parts)
    assert found == Saturation(68.0, 80, 20)
    (task,) = run_tasks(plan, {100: found})
    assert task.balance == "round_robin"
    assert task.rate_rps == pytest.approx(0.9 * 68.0 * 100 / 80)


def test_rows_carry_the_balance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, report = tmp_path / "out.json", tmp_path / "out.html"
    flags = ["--balance", "round_robin,random,oracle", "--json", str(file), "--report", str(report)]
    assert run(parsed(*EIGHT, *flags, "--policies", "fcfs,shortest"), FakeBackend()) == 0
    written = json.loads(file.read_text())
    lines = [(row["policy"], row["balance"]) for row in written["rows"]]
    names = ("round_robin", "random", "oracle")
    assert lines == [(policy, name) for policy in ("fcfs", "shortest") for name in names]
    assert all(row["sent"] == [80] * 8 for row in written["rows"])
    assert written["settings"]["replicas"] == 8
    assert written["settings"]["balances"] == list(names)
    output = capsys.readouterr().out
    assert "| fcfs, round_robin " in output
    assert "x fcfs, round_robin" in output
    header = next(line for line in output.splitlines() if line.startswith("| policy"))
    cells = [cell.strip() for cell in header.strip("|").split("|")]
    assert cells[cells.index("P99 TTFT s") + 2] == "hit"
    one = next(line for line in output.splitlines() if line.startswith("| fcfs, oracle"))
    shown = [cell.strip() for cell in one.strip("|").split("|")]
    row = next(r for r in written["rows"] if (r["policy"], r["balance"]) == ("fcfs", "oracle"))
    assert shown[cells.index("hit")] == f"{row['prefix_hit']:.3f}"
    page = report.read_text()
    assert "shortest, oracle" in page


def test_constants_of_a_chooser_are_part_of_its_name(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    flags = ["--balance", "sal,sal:answers=0:output=256", "--json", str(file)]
    assert run(parsed(*EIGHT, *flags), FakeBackend()) == 0
    rows = json.loads(file.read_text())["rows"]
    assert [row["balance"] for row in rows] == ["sal", "sal:answers=0:output=256"]
    plan = make_plan(parsed(*EIGHT, *flags), FakeBackend())
    assert plan.predictors["fcfs, sal:answers=0:output=256"] == "shipped"
    assert make_plan(parsed(*SOURCE, "--policies", "fcfs", "--replicas", "64"), FakeBackend())


def test_replicas_as_one_engine_for_the_lower_bound() -> None:
    cluster = ClusterConfig((1000, 3000), (2.0, 1.0))
    one, model = cluster.as_one(EngineConfig(max_running=10, pool_tokens=7), FakeStepTime())
    assert one.pool_tokens == 2500
    assert one.max_running == 15
    assert model.seconds(Step()) == pytest.approx(0.005)
    assert Scaled(FakeStepTime(), 4.0).seconds(Step()) == pytest.approx(0.0025)


def test_bad_clusters_are_refused() -> None:
    nan = float("nan")
    for arguments in (
        *(((), ()), ((1,), (1.0, 1.0)), ((0,), (1.0,)), ((1,), (1.0,), -1.0)),
        *(((1,), (speed,)) for speed in (0.0, 1e-300, 1e300, nan)),
    ):
        with pytest.raises(ValueError, match="ClusterConfig"):
            ClusterConfig(*arguments)  # type: ignore[arg-type]
