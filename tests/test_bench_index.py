"""``sagesched bench index``: what it writes, and that it times nothing that is wrong."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sagesched.bench import cases, cli, curve, numpy_index, on_device, rank, report
from sagesched.bench.floor import floor_way
from sagesched.bench.requests import LAYOUTS, make_requests
from sagesched.bench.result import Result, as_json
from sagesched.bench.timing import Sample
from sagesched.bench.verify import Check, WrongResultError, check_all
from sagesched.cli import main
from sagesched.gittins import simd_level, simd_levels

CASE = ["n", "m", "dtype", "level", "layout", "threads", "ns_per_request", "speedup_vs_numpy",
        "fraction_of_read_bandwidth"]  # fmt: skip
RANK = ["waiting", "changed", "k", "us_per_step", "speedup_vs_python_sort"]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes and times that take a moment."""
    monkeypatch.setattr("sagesched.bench.floor.MEMORY_BYTES", 2**22)
    monkeypatch.setattr("sagesched.bench.floor.CACHED_BYTES", 2**20)
    monkeypatch.setattr(curve, "BINS", (16, 32))
    monkeypatch.setattr(curve, "SOLVER_BINS", (4,))
    monkeypatch.setattr(rank, "WAITING", (600,))
    monkeypatch.setattr(rank, "REFRESHED", (1, 40))

    def sampled(contenders: Any, seconds: float) -> dict[str, Sample]:
        for call in contenders.values():
            call()
        return dict.fromkeys(contenders, Sample(1000.0, 2000.0, 3000.0, 1))

    for module in (cases, curve, rank, importlib.import_module("sagesched.bench.floor")):
        monkeypatch.setattr(module, "interleave", sampled)
    shapes = [cases.Shape(40, 128, levels=tuple(simd_levels()), layouts=LAYOUTS, threads=(1, 2))]
    monkeypatch.setattr(cases, "default_shapes", lambda quick, levels: shapes)


def test_the_files_it_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {name: tmp_path / f"index.{name}" for name in ("json", "md", "png")}
    before = simd_level()
    flags = ["--json", str(files["json"]), "--markdown", str(files["md"])]
    assert main(["bench", "index", "--quick", *flags, "--plot", str(files["png"])]) == 0
    assert simd_level() == before
    found = json.loads(files["json"].read_text())
    on_cpu = [row for row in found["cases"] if row["level"] != "cuda"]
    assert len(on_cpu) == len(simd_levels()) * len(LAYOUTS) * 2
    for row in on_cpu:
        assert list(row)[: len(CASE)] == CASE
        assert row["ns_per_request"] == 2000 / 40
        assert row["speedup_vs_numpy"] == 1
        assert row["fraction_of_read_bandwidth"] == 1
    assert {row["level"] for row in on_cpu} == set(simd_levels())
    assert [list(row)[: len(RANK)] for row in found["rank_engine"]] == [RANK]
    assert found["rank_engine"][0]["waiting"] == 600
    assert files["md"].read_text() == capsys.readouterr().out
    assert "| plain Python | 40 x 128 | float32 |" in files["md"].read_text()
    assert files["png"].read_bytes().startswith(b"\x89PNG")


def test_cuda_is_one_more_level_where_a_device_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stand_in(requests: Any) -> Any:
        return lambda: cases.gittins_index(*requests.arguments("column-major"))

    assert main(["bench", "index", "--n", "7", "--m", "5"]) == 0
    assert "cuda: no device" in capsys.readouterr().out or on_device.device_is_there()
    monkeypatch.setattr(cases, "device_is_there", lambda: True)
    monkeypatch.setattr(cases, "cuda_way", stand_in)
    assert main(["bench", "index", "--n", "7", "--m", "5"]) == 0
    assert "| 7 x 5 | float32 | column-major | cuda | 1 |" in capsys.readouterr().out


@pytest.mark.cuda
def test_cuda_on_a_device() -> None:
    if not on_device.device_is_there():
        pytest.skip("no CUDA device, or built without CUDA")
    requests = make_requests(100, 40)
    check_all(requests, {"cuda": on_device.cuda_way(requests)})


def test_one_shape_alone(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--n", "7", "--m", "5", "--dtype", "float64", "--level", "scalar"]
    assert main(["bench", "index", *flags, "--layout", "row-major", "--threads", "2"]) == 0
    printed = capsys.readouterr().out
    assert "| 7 x 5 | float64 | row-major | scalar | 2 |" in printed
    assert "rank engine: update" not in printed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--n", "0"], "whole number from 1"),
        (["--m", "many"], "whole number from 1"),
        (["--m", "100000"], "whole number from 1 to 4096"),
        (["--level", "mmx"], "invalid choice: 'mmx'"),
        (["--dtype", "float16"], "invalid choice"),
    ],
)
def test_flags_that_make_no_sense(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "index", *flags])
    assert message in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_told_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "index", "--json", str(tmp_path / "no" / "x.json")]) == 1
    output = capsys.readouterr()
    assert "No such file" in output.err
    assert not output.out


def test_a_wrong_contender_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = cases.gittins_index

    def slightly_off(*arguments: Any, **flags: Any) -> Any:
        index = right(*arguments, **flags).copy()
        index[-1] *= 1.001
        return index

    monkeypatch.setattr(cases, "gittins_index", slightly_off)
    assert main(["bench", "index"]) == 1
    output = capsys.readouterr()
    assert "scalar, column-major, 1 threads: row 39 is" in output.err
    assert not output.out, "nothing is reported"


def test_no_row_goes_unchecked() -> None:
    requests = make_requests(5000, 16)
    right = cases.gittins_index(*requests.arguments("column-major"))
    check_all(requests, {"right": lambda: right})
    check = Check(requests)
    for row in range(5000):  # the reference itself is asked for 48 of them
        wrong = right.copy()
        wrong[row] *= 1.001
        with pytest.raises(WrongResultError, match=f"planted: row {row} is"):
            check("planted", wrong)
    with pytest.raises(WrongResultError, match="shape"):
        check("short", right[:-1])


def test_a_float64_numpy_that_is_wrong_is_no_yardstick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_index.Masked, "__call__", lambda self: np.ones(len(self.pmf)))
    with pytest.raises(WrongResultError, match=r"NumPy in float64: row .* is 1\.0 and"):
        Check(make_requests(100, 16))


def test_every_row_of_a_curve_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    right = curve.gittins_curve
    for row, age in ((0, 0), (0, 16), (63, 7)):

        def slightly_off(*arguments: Any, row: int = row, age: int = age) -> Any:
            index = np.array(right(*arguments))
            if index.ndim == 2 or row == 0:
                index[(row, age) if index.ndim == 2 else age] *= 1 + 1e-6
            return index

        monkeypatch.setattr(curve, "gittins_curve", slightly_off)
        with pytest.raises(WrongResultError, match=f"gittins_curve, m=16.* at age {age},"):
            curve.bench_curve((16,), 0.0)


def test_a_wrong_key_of_the_engine_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = rank.Queue(600)
    queue.block(2)
    queue.check_keys()
    queue.age[599] += 64  # as if an update had been lost
    with pytest.raises(WrongResultError, match="RankEngine, 600 waiting: row 599 is"):
        queue.check_keys()


def test_the_floor_reads_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = make_requests(40, 128)
    read: list[int] = []
    monkeypatch.setattr(
        "sagesched._core.read_floor", lambda line: float(read.append(line.nbytes) or 0)
    )
    for layout in LAYOUTS:
        floor_way(requests, simd_level(), layout)()
    assert read == [40 * 128 * 4] * 4, "support-per-row reads edges, too"


def test_everything_is_in_the_plot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "numba_way", cases.python_way)  # as if it were installed
    rows, others = cases.bench_shape(cases.Shape(40, 128, levels=tuple(simd_levels())), 0.0)
    lines = report.lines_of_plot(Result({}, cases=rows, others=others), 128)
    floor = f"sum of the masses, {simd_levels()[-1]}"
    names = {"plain Python", "Numba", "NumPy, fastest way", floor, *simd_levels()}
    assert names <= lines.keys()
    assert all(points == {(40, 50.0)} for _, points in lines.values())


def test_nan_is_wrong() -> None:
    requests = make_requests(5, 8)
    with pytest.raises(WrongResultError, match="row 0 is"):
        check_all(requests, {"nothing": lambda: np.full(5, np.nan)})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ages", ["mixed", "zero"])
def test_all_ways_of_numpy_are_right(dtype: str, ages: str) -> None:
    requests = make_requests(300, 40, dtype, ages)
    for layout in ("column-major", "row-major"):
        ways = numpy_index.numpy_ways(requests, layout)
        assert len(ways) >= 3
        check_all(requests, ways)
        check_all(requests, ways)  # buffers are used again


def test_an_engine_that_forgets_the_order_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = rank.Queue(600)
    monkeypatch.setattr(queue, "queue", queue.queue[::-1][:300])
    with pytest.raises(WrongResultError, match="top is not the best"):
        queue.block(2)


def test_without_matplotlib_the_plot_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="pip install matplotlib"):
        report.plot(Result({}), tmp_path / "x.png")
    assert main(["bench", "index", "--plot", str(tmp_path / "x.png")]) == 1
    output = capsys.readouterr()
    assert "pip install matplotlib" in output.err
    assert not output.out
    assert not (tmp_path / "x.png").exists()


def test_a_level_that_the_environment_insists_on() -> None:
    command = [sys.executable, "-m", "sagesched.cli", "bench", "index", "--n", "3", "--m", "2"]
    for level, status, found in (("scalar", 0, "| scalar |"), ("mmx", 1, "error: SAGESCHED_SIMD")):
        done = subprocess.run(
            command, env={**os.environ, "SAGESCHED_SIMD": level}, capture_output=True, text=True
        )
        assert done.returncode == status
        assert found in done.stdout + done.stderr
        assert "| avx" not in done.stdout
        assert "Traceback" not in done.stderr


def test_bars_that_were_not_timed_are_neither_met_nor_missed() -> None:
    bars = Result({}).bars()
    assert len(bars) == 12
    assert all(bar.met is None and bar.measured == "not timed" for bar in bars)
    assert as_json(Result({}))["cases"] == []


def test_numpy_is_all_that_is_imported() -> None:
    heavy = ("matplotlib", "numba", "torch", "sglang", "scipy", "pandas")
    code = (
        "import sys; from sagesched.bench import cli; "
        f"found = [name for name in {heavy!r} if name in sys.modules]; assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert cli.DTYPES == ("float32", "float64")
