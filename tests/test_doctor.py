"""What ``sagesched doctor`` says: each setting, what a bad one does not hide, and what to serve."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest

from sagesched.doctor import examine
from sagesched.doctor.engine import PATCH, help_loads_plugins
from sagesched.doctor.finding import Finding
from sagesched.plugin.settings import VARIABLES
from sagesched.plugin.table import HOOKS
from sagesched.plugin.versions import SUPPORTED

from .serving import engine_environment

PATCHES = Path(__file__).parent.parent / "patches"

# Each in a process of its own, forked from one that has imported SGLang, which takes ten seconds.
ALL = """
import json, os, pathlib, sys
import sglang.srt.managers.scheduler
from sagesched.doctor import main

for number, env in enumerate(json.loads(sys.argv[2])):
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(f"{sys.argv[1]}/{number}", os.O_WRONLY | os.O_CREAT), 1)
        os.environ.update(env)
        status = main()
        sys.stdout.flush()
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    pathlib.Path(f"{sys.argv[1]}/{number}.status").write_text(str(status))
"""
CASES: dict[str, dict[str, str]] = {
    "plain": {},
    "shadow": {"SAGESCHED_SHADOW": "1"},
    "bad": {"SAGESCHED_DIAL": "fast", "SAGESCHED_SIMD": "abacus", "SAGESCHED_DAIL": "2"},
    "bad-shadow": {"SAGESCHED_SHADOW": "1", "SAGESCHED_DIAL": "fast"},
    "forecast": {"SAGESCHED_ADMISSION": "forecast", "SAGESCHED_DIAL": "2"},
    "not-loaded": {"SGLANG_PLUGINS": "something-else"},
}


class Report(NamedTuple):
    """What was printed, and the exit status."""

    lines: list[str]
    status: int

    def of(self, subject: str) -> str:
        """The one line on it."""
        (line,) = (line for line in self.lines if line[7:].startswith(subject))
        return line


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    pytest.importorskip("sglang", reason="SGLang is not installed")
    folder = tmp_path_factory.mktemp("reports")
    command = [sys.executable, "-c", ALL, str(folder), json.dumps(list(CASES.values()))]
    subprocess.run(command, env=engine_environment(), timeout=600, check=True)

    def report(number: int) -> Report:
        lines = (folder / str(number)).read_text().splitlines()
        return Report(lines, int((folder / f"{number}.status").read_text()))

    return {name: report(number) for number, name in enumerate(CASES)}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No setting of whoever runs the tests."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def settings_found() -> list[Finding]:
    """Of every variable."""
    of_variables = (each for each in examine() if each.subject.startswith("  SAGESCHED_"))
    return list(islice(of_variables, len(VARIABLES)))


def test_every_variable_is_shown_with_its_default(bare: pytest.MonkeyPatch) -> None:
    found = settings_found()
    assert [each.subject.split()[0] for each in found] == list(VARIABLES)
    for each in found:
        assert "(default" in each.subject, each
        assert "(default" not in each.state, each
        assert each.state
        assert not each.fatal


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("SAGESCHED_PARKED_S", "5", "SAGESCHED_PARKED_S=5 (default 3)"),
        ("SAGESCHED_PARKED_S", " ", "SAGESCHED_PARKED_S (default 3)"),
        ("SAGESCHED_HISTORY_FILE", "/a\x1bb", "SAGESCHED_HISTORY_FILE='/a\\x1bb' (default: none"),
    ],
)
def test_what_is_set_is_shown(bare: pytest.MonkeyPatch, name: str, value: str, shown: str) -> None:
    bare.setenv(name, value)
    assert any(each.subject.strip().startswith(shown) for each in settings_found())


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("SAGESCHED_DIAL", "fast", "expected a number of at least 0"),
        ("SAGESCHED_COST", "1,2", "2 numbers"),
        ("SAGESCHED_EMBEDDER", "oracle", "oracle"),
        ("SAGESCHED_SHADOW", "yes", "expected 0 or 1"),
        ("SAGESCHED_SIMD", "abacus", "expected one of scalar"),
    ],
)
def test_a_bad_value_is_named_and_no_other_is(
    bare: pytest.MonkeyPatch, name: str, value: str, wrong: str
) -> None:
    bare.setenv(name, value)
    (bad,) = (each for each in settings_found() if each.fatal)
    assert bad.subject.strip().startswith(f"{name}={value} (default")
    assert wrong in bad.state
    assert bad.advice


def test_a_bad_value_hides_no_other_line(reports: dict[str, Report]) -> None:
    report = reports["bad"]
    for subject in ("index kernel", "embedder", "history", "neighbour index", "SGLang",
                    "admission", "patch", "hook managers.scheduler.Scheduler.get_new"):  # fmt: skip
        assert "FAIL" not in report.of(subject)
    failed = [line for line in report.lines if line.startswith("[FAIL]")]
    assert len(failed) == 3
    assert "SAGESCHED_DAIL: unknown" in failed[2]
    assert "would be refused" in report.of("--schedule-policy larry")
    assert report.lines[-1] == "3 problem(s): --schedule-policy gittins would be refused."
    assert report.status == 1


def test_both_policies_are_said_to_be_in_force(reports: dict[str, Report]) -> None:
    report = reports["plain"]
    of_gittins = [line for line in report.lines if "in force, for gittins alone" in line]
    larry = report.of("--schedule-policy larry")
    assert f"in force, by the {len(HOOKS) - len(of_gittins)} hooks" in larry
    assert "SAGESCHED_DIAL is 1: 0 is first come first served" in larry
    assert len(of_gittins) == 9
    assert any("_get_decode_retraction_order" in line for line in of_gittins)
    assert report.lines[-1] == "All well: sglang serve ... --schedule-policy gittins, or larry"
    assert report.status == 0


def test_a_shadow_is_served_with_fcfs(reports: dict[str, Report]) -> None:
    report = reports["shadow"]
    assert report.lines[-1].startswith("All well, for a shadow")
    assert report.lines[-1].endswith("--schedule-policy fcfs")
    assert "no shadow for it" in report.of("--schedule-policy larry")
    assert report.status == 0
    bad = reports["bad-shadow"]
    assert "--schedule-policy fcfs would be refused beside SAGESCHED_SHADOW=1" in bad.lines[-1]
    assert bad.status == 1


def test_what_larry_has_not_is_not_advised_for_it(reports: dict[str, Report]) -> None:
    report = reports["forecast"]
    assert "SAGESCHED_ADMISSION=forecast is for gittins" in report.of("--schedule-policy larry")
    assert "larry" not in report.lines[-1]
    assert "settings: dial 2;" in report.of("settings")


def test_hooks_that_are_not_there_are_missed(reports: dict[str, Report]) -> None:
    report = reports["not-loaded"]
    assert "NOT in force" in report.of("hooks")
    assert "would be refused" in report.of("--schedule-policy larry")
    assert report.status == 1


def test_what_is_missing_without_the_patch_is_said(reports: dict[str, Report]) -> None:
    line = reports["plain"].of(f"patch {PATCH}")
    assert "`sglang serve --help`" in line


def test_the_doctor_knows_every_patch() -> None:
    names = {f"sglang-{release}-{PATCH}.patch" for release in SUPPORTED}
    assert {file.name for file in PATCHES.glob("*.patch")} == names


def test_an_applied_patch_is_noticed(tmp_path: Path) -> None:
    spec = find_spec("sglang")
    if spec is None or spec.origin is None:
        pytest.skip("SGLang is not installed")
    serve = tmp_path / "sglang" / "cli" / "serve.py"
    serve.parent.mkdir(parents=True)
    shutil.copy(Path(spec.origin).parent / "cli" / "serve.py", serve)
    (patch,) = PATCHES.glob(f"sglang-{version('sglang')}-{PATCH}.patch")
    if help_loads_plugins(serve.read_text()):  # applied to the installed one
        subprocess.run(["git", "apply", "-R", str(patch)], cwd=tmp_path, check=True)
    assert not help_loads_plugins(serve.read_text())
    subprocess.run(["git", "apply", str(patch)], cwd=tmp_path, check=True)
    assert help_loads_plugins(serve.read_text())
    assert not help_loads_plugins("")
