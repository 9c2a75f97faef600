"""What several tokenizer workers are left by the first process, and a history that ends with it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sagesched.plugin.settings import Settings, read_settings
from sagesched.plugin.workers import APP_VARIABLE, WORKER_APP, prepare_workers
from sagesched.predict.store import temporary

from .serving import engine_environment

MAKE = """
from sagesched.predict.store.temporary import make_temporary_file
print(make_temporary_file(), flush=True)
input()
"""
APP = "SGLANG_HTTP_SERVER_APP_PATH"
FILE = "SAGESCHED_HISTORY_FILE"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go, without variables of ours or of SGLang's."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in (APP, APP_VARIABLE, FILE):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    return tmp_path


def make(folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that has made a file in a folder of its own, and waits."""
    env = engine_environment(TMPDIR=str(folder))
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", MAKE], stdin=pipe, stdout=pipe, text=True, env=env
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_the_folder_is_private_and_ends_with_its_process(tmp_path: Path) -> None:
    process, path = make(tmp_path)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.write_text("x")
    process.communicate("\n")
    assert process.returncode == 0
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_removed_by_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, left = make(folder)
    dead.send_signal(signal.SIGKILL)
    dead.communicate()
    alive, used = make(folder)
    assert left.parent.is_dir()  # still too young to be sure of
    monkeypatch.setattr(temporary, "YOUNG_S", 0.0)
    (folder / f"{temporary.PREFIX}link").symlink_to(folder)
    (folder / f"{temporary.PREFIX}file").write_text("not a folder")
    mine = temporary.make_temporary_file()
    assert not left.parent.exists()
    assert used.parent.is_dir()
    assert mine.parent.is_dir()
    assert len(list(folder.iterdir())) == 4
    alive.communicate("\n")


def test_the_folder_of_a_living_process_is_locked(folder: Path) -> None:
    mine = temporary.make_temporary_file()
    descriptor = os.open(mine.parent, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


def test_workers_get_the_app_and_a_history(folder: Path) -> None:
    pytest.importorskip("sglang", reason="SGLang is not installed")
    for _ in range(2):  # the second time for an Engine in the same process
        prepare_workers(read_settings())
        assert os.environ[APP] == WORKER_APP
        assert os.environ[APP_VARIABLE] == "sglang.srt.entrypoints.http_server:app"
        assert Path(os.environ[FILE]).parent.parent == folder
    assert len(list(folder.iterdir())) == 1


def test_what_the_operator_named_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sglang", reason="SGLang is not installed")
    monkeypatch.setenv(APP, "own:app")
    prepare_workers(Settings(history_file=folder / "own.db"))
    assert os.environ[APP] == WORKER_APP
    assert os.environ[APP_VARIABLE] == "own:app"
    assert FILE not in os.environ
    assert not list(folder.iterdir())


def test_without_room_for_a_file_workers_learn_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("sglang", reason="SGLang is not installed")
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "missing"))
    prepare_workers(Settings())
    assert FILE not in os.environ
    assert "Set SAGESCHED_HISTORY_FILE" in caplog.text
