"""``sagesched replay``: parallel runs, failures, rows and details, on a fake engine."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from sagesched.replay.cli import run
from sagesched.replay.details import LEVELS, details_of
from sagesched.replay.plan import make_plan
from sagesched.replay.result import Row
from sagesched.replay.summary import summaries
from sagesched.replay.table import seconds
from sagesched.replay.tasks import saturation_rps
from tests.replay_fakes import FakeBackend, FakeHarness, FakeStepTime, FakeWorkload, parsed

CONTRACT = [
    "policy", "predictor", "load", "seed", "n", "mean_ttlt_s", "p50_ttlt_s", "p95_ttlt_s",
    "p99_ttlt_s", "max_ttlt_s", "mean_ttft_s", "p99_ttft_s", "mean_tpot_s", "p99_tpot_s",
    "max_stall_s", "throughput_rps", "throughput_mid80_rps", "preemptions", "retractions",
    "recomputed_tokens", "prefix_hit", "lower_bound_mean_ttlt_s",
]  # fmt: skip

QUICK = ("--workload", "hetero", "--n", "120", "--load", "0.7,1.2", "--seeds", "2", "--jobs", "2")


def test_saturation_is_the_rate_between_the_quantiles() -> None:
    # Four servers, all requests of 10 tokens of 10 ms: 40 requests a second.
    workload = FakeWorkload(400)
    harness = FakeHarness(make_plan(parsed(*QUICK, "--policies", "fcfs"), FakeBackend()).scenario.engine)  # fmt: skip  # noqa: E501
    result = harness.run(
        workload.requests(seed=1, rate_rps=None), policy="fcfs", step_time=FakeStepTime(),
        predictions=None, settings=None, max_output_tokens=500,
    )  # fmt: skip
    mean_service = 0.01 * result.output_tokens.mean()
    assert saturation_rps(result) == pytest.approx(4 / mean_service, rel=0.15)
    ends = np.sort(result.last_s)
    assert saturation_rps(result) == pytest.approx(260 / (ends[300] - ends[40]))


def test_rows_keep_the_contract_and_do_not_depend_on_the_jobs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = []
    for jobs in ("1", "3"):
        file = tmp_path / f"{jobs}.json"
        flags = [*QUICK, "--policies", "fcfs,shortest", "--jobs", jobs, "--json", str(file)]
        assert run(parsed(*flags), FakeBackend()) == 0
        written.append(json.loads(file.read_text()))
    one, three = written
    assert set(one) == {"settings", "rows"}
    assert one["rows"] == three["rows"]
    assert [list(row)[: len(CONTRACT)] for row in one["rows"]] == [CONTRACT] * 8
    extra = {"refused", "cut", "fallbacks", "digest", "tenants"}
    assert set(one["rows"][0]) == {*CONTRACT, *extra}
    order = [(row["load"], row["seed"], row["policy"]) for row in one["rows"]]
    expected = [(load, seed, p) for load in (0.7, 1.2) for seed in (100, 101) for p in ("fcfs", "shortest")]  # fmt: skip  # noqa: E501
    assert order == expected
    assert one["settings"]["saturation_rps"] > 0
    assert one["settings"]["sglang_version"] == "2"
    output = capsys.readouterr()
    assert "8 of 8 runs" in output.err
    assert "| shortest |" in output.out
    assert "raised 6 errors" in output.out  # fallbacks of both seeds are told
    assert "refused 2 requests" in output.out  # in a run, not in all of them together


def test_a_failing_policy_costs_only_its_own_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, report = tmp_path / "out.json", tmp_path / "out.html"
    flags = [*QUICK, "--policies", "dies,fcfs,raises", "--json", str(file), "--report", str(report)]
    assert run(parsed(*flags), FakeBackend()) == 1
    written = json.loads(file.read_text())
    assert [row["policy"] for row in written["rows"]] == ["fcfs"] * 4
    assert len(written["settings"]["failed"]) == 8
    errors = capsys.readouterr().err
    assert "ended with status 7" in errors
    assert "last words" in errors  # what the process printed before it died
    assert "this policy cannot be run" in errors
    assert "cannot be run" in report.read_text()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--workload", "tiny"], "too few"),
        (["--workload", "hetero", "--pool", "13"], "13 tokens"),
    ],
)
def test_without_a_saturation_nothing_runs(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(parsed(*flags, "--policies", "fcfs", "--jobs", "1"), FakeBackend()) == 1
    assert words in capsys.readouterr().err


def test_a_refused_trace_is_told_from_a_short_one() -> None:
    engine = make_plan(parsed(*QUICK, "--policies", "fcfs"), FakeBackend()).scenario.engine
    result = FakeHarness(engine).run(
        FakeWorkload(1).requests(seed=1, rate_rps=None), policy="fcfs", step_time=FakeStepTime(),
        predictions=None, settings=None, max_output_tokens=500,
    )  # fmt: skip
    with pytest.raises(RuntimeError, match="use more requests"):
        saturation_rps(result)
    with pytest.raises(RuntimeError, match="--pool"):
        saturation_rps(replace(result, last_s=np.array([]), refused=1))


def test_ctrl_c_ends_the_workers_and_keeps_what_is_done(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from sagesched.replay.cli import run\n"
        "from tests.replay_fakes import FakeBackend, parsed\n"
        "if __name__ == '__main__':\n"
        "    sys.exit(run(parsed(*sys.argv[1:]), FakeBackend()))\n"
    )
    script, file = tmp_path / "main.py", tmp_path / "out.json"
    script.write_text(code)
    flags = ["--workload", "hetero", "--n", "60", "--load", "1", "--seeds", "1", "--jobs", "2"]
    flags += ["--policies", "fcfs,sleeps", "--json", str(file)]
    root = Path(__file__).resolve().parents[1]
    process = subprocess.Popen(
        [sys.executable, str(script), *flags],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background job, such as a CI's, ignores SIGINT, and its children with it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "1 of 2 runs" in line:
            break
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    try:
        out, err = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == 130, "".join(lines) + err
    assert "Traceback" not in err
    assert "Interrupted" in out
    assert [row["policy"] for row in json.loads(file.read_text())["rows"]] == ["fcfs"]


def test_ratios_are_taken_seed_by_seed() -> None:
    rows = [
        _row("fcfs", 1, 2.0), _row("fcfs", 2, 4.0), _row("x", 1, 1.0), _row("x", 2, 4.0),
        _row("x", 3, 9.0),
    ]  # fmt: skip
    (fcfs, other) = summaries(rows, "fcfs")[1.0]
    assert fcfs.ratios["mean_ttlt_s"].mean == 1
    assert other.ratios["mean_ttlt_s"].values == (0.5, 1.0)
    assert other.values["mean_ttlt_s"].mean == pytest.approx(14 / 3)
    assert other.values["mean_ttlt_s"].std == pytest.approx(np.std([1, 4, 9], ddof=1))
    assert summaries(rows, "nobody")[1.0][0].ratios == {}


def test_seconds_have_three_digits() -> None:
    texts = [seconds(value) for value in (1234.5, 99.96, 12.34, 1.2, 0.0123, 0.00123)]
    assert texts == ["1234", "100", "12.3", "1.20", "0.0123", "0.0012"]


def test_details_count_every_request_once() -> None:
    engine = make_plan(parsed(*QUICK, "--policies", "fcfs"), FakeBackend()).scenario.engine
    result = FakeHarness(engine).run(
        FakeWorkload(500).requests(seed=1, rate_rps=5.0), policy="fcfs", step_time=FakeStepTime(),
        predictions=None, settings=None, max_output_tokens=500,
    )  # fmt: skip
    details = details_of(result, skip=0.1)
    for groups in (details.outputs, details.prompts, details.classes):
        assert sum(group.n for group in groups) == 450
        mean = sum(group.n * group.mean_ttlt_s for group in groups) / 450
        assert mean == pytest.approx(result.ttlt_s[50:].mean())
    assert [group.name for group in details.outputs] == ["1 to 32", "33 to 128", "129 to 512"]
    assert details.ttlt_s[-1] == result.ttlt_s[50:].max()
    assert (np.diff(details.ttlt_s) >= 0).all()
    assert (np.diff(LEVELS) > 0).all()


def _row(policy: str, seed: int, mean: float) -> Row:
    numbers = dict.fromkeys((field.name for field in fields(Row)), 1.0)
    values = {**numbers, "policy": policy, "predictor": "none", "seed": seed, "extra": {}}
    return Row(**{**values, "mean_ttlt_s": mean})  # type: ignore[arg-type]
