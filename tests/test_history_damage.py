"""History files that cannot be used, places where none can be: the server starts, and serves."""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sagesched.cli import main
from sagesched.predict.store import keeper as keeping
from sagesched.predict.store.opening import open_history
from sagesched.predict.store.record import Record
from sagesched.predict.store.schema import UnusableFileError

from .history_files import count, make_keeper, open_service, predictions, rows, teach, wait_until
from .prediction import settled


def make_history(path: Path, records: int = 200) -> None:
    keeper = make_keeper(path)
    for n in range(records):
        keeper.append(Record(np.full(4, n, np.float32), n, True))
    keeper.close()
    assert count(path) == records


def truncated(path: Path) -> None:
    make_history(path)
    os.truncate(path, path.stat().st_size // 2 + 100)


def garbage(path: Path) -> None:
    path.write_bytes(b"no database at all, " * 1000)


def overwritten(path: Path) -> None:
    make_history(path)
    with path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(os.urandom(3 * 4096))


def torn_header(path: Path) -> None:
    make_history(path)
    with path.open("r+b") as file:
        file.write(b"\0" * 60)


def newer_version(path: Path) -> None:
    make_history(path)
    rows(path, "PRAGMA user_version = 99")


def foreign(path: Path) -> None:
    rows(path, "CREATE TABLE bookmarks(url TEXT)")


def foreign_tables_behind_our_mark(path: Path) -> None:
    make_history(path)
    rows(path, "ALTER TABLE records DROP COLUMN tenant")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncated, "damaged"),
        (garbage, "damaged, or not a SQLite file"),
        (overwritten, "damaged"),
        (torn_header, "damaged, or not a SQLite file"),
        (newer_version, "version 99 of the format, this sagesched reads version 1"),
        (foreign, "another program's SQLite file"),
        (foreign_tables_behind_our_mark, "its tables are not ours"),
    ],
)
def test_a_file_that_cannot_be_used_is_set_aside(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
    words: str,
) -> None:
    path = tmp_path / "history.db"
    damage(path)
    before = path.read_bytes()
    with pytest.raises(UnusableFileError):
        open_history(path, create=False)
    with caplog.at_level(logging.WARNING, "sagesched"):
        service = open_service(path)
    teach(service, range(3))
    service.close()
    assert words in caplog.text
    (aside,) = tmp_path.glob("history.db.set-aside-*")
    assert aside.name in caplog.text
    assert aside.read_bytes() == before
    assert count(path) == 3
    assert (service.snapshot().history_failures, service.snapshot().errors) == (0, 0)


def test_an_empty_file_becomes_a_history(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    path.touch()
    make_history(path, 2)
    assert [file.name for file in tmp_path.glob("*aside*")] == []


def test_damage_that_shows_later_is_set_aside_while_serving(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    service = open_service(path)
    teach(service, range(50))
    wait_until(lambda: service.snapshot().history_saved == 50)
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    teach(service, range(10))
    wait_until(lambda: service.snapshot().history_saved == 60)
    service.close()
    assert len(list(tmp_path.glob("history.db.set-aside-*"))) >= 1
    assert count(path) == 10
    assert service.snapshot().errors == 0


def test_a_deleted_file_is_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    service = open_service(path)
    teach(service, range(5))
    wait_until(lambda: service.snapshot().history_saved == 5)
    for file in tmp_path.iterdir():
        file.unlink()
    teach(service, range(3))
    wait_until(lambda: service.snapshot().history_saved == 8)
    service.close()
    assert count(path) == 3


def serves_from_memory(path: Path, caplog: pytest.LogCaptureFixture, words: str) -> None:
    """It learns and predicts, says so once, and counts."""
    with caplog.at_level(logging.WARNING, "sagesched"):
        service = open_service(path)
        teach(service, range(40))
        learned = predictions(service)
        wait_until(lambda: service.snapshot().history_failures >= 3)
        settled(service, lambda stats: stats.history_size == 40)
        service.close()
    stats = service.snapshot()
    assert len(learned) > 0
    assert (stats.recorded, stats.history_size, stats.errors) == (40, 40, 0)
    assert (stats.history_saved, stats.history_dropped) == (0, 40)
    assert words.lower() in stats.history_failure.lower()
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "memory only" in warning.getMessage()


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "RETRY_S", 0.1)
    monkeypatch.setattr(keeping, "INTERVAL_S", 0.05)


@pytest.mark.usefixtures("_impatient")
def test_without_the_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    serves_from_memory(tmp_path / "no" / "history.db", caplog, "No such file or directory")


@pytest.mark.usefixtures("_impatient")
def test_where_a_folder_stands(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "history.db").mkdir()
    serves_from_memory(tmp_path / "history.db", caplog, "Is a directory")


@pytest.mark.usefixtures("_impatient")
def test_when_the_folder_comes_back_so_does_the_history(tmp_path: Path) -> None:
    path = tmp_path / "mounted later" / "history.db"
    elsewhere = tmp_path / "history.db"
    earlier = open_service(elsewhere)
    teach(earlier, range(30))
    earlier.close()
    service = open_service(path)
    teach(service, range(5))
    path.parent.mkdir()
    shutil.copy(elsewhere, path)
    stats = settled(
        service,
        lambda stats: (
            (stats.history_shared, stats.history_saved, stats.history_size) == (30, 5, 35)
        ),
    )
    assert stats.history_failure == ""
    service.close()
    assert count(path) == 35


def _as_nobody(path: Path, results: object) -> None:
    """In a process of its own, since root may write anywhere."""
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    service = open_service(path)
    teach(service, range(5))
    stats = service.snapshot()
    service.close()
    results.put((stats.recorded, stats.history_failure))  # type: ignore[attr-defined]


def test_in_a_read_only_folder() -> None:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    try:
        context = multiprocessing.get_context("spawn")
        results = context.Queue()
        process = context.Process(target=_as_nobody, args=(folder / "history.db", results))
        process.start()
        assert results.get(timeout=60) == (5, "Permission denied")
        process.join()
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def _on_a_small_disk(path: Path, results: object) -> None:
    """The limit of a file's size stands in for a full disk; then there is room again."""
    keeping.RETRY_S = 0.1
    service = open_service(path)
    teach(service, range(20))
    wait_until(lambda: service.snapshot().history_saved == 20)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    teach(service, range(100))
    wait_until(lambda: service.snapshot().history_failures > 1)
    full = service.snapshot()
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    wait_until(lambda: service.snapshot().history_saved == 120)
    service.close()
    results.put((full, service.snapshot()))  # type: ignore[attr-defined]


def test_on_a_full_disk_and_after_it(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_on_a_small_disk, args=(path, results))
    process.start()
    full, after = results.get(timeout=60)
    process.join()
    assert (full.history_saved, full.recorded, full.errors) == (20, 120, 0)
    assert full.history_failure
    assert (after.history_dropped, after.history_failure) == (0, "")
    assert count(path) == 120


def test_a_bad_byte_of_a_text_spoils_nothing_and_is_not_quoted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "history.db"
    service = open_service(path, store_text=True)
    teach(service, range(20))
    service.close()
    rows(path, "UPDATE records SET text = CAST('a secret ' || x'ff' AS TEXT) WHERE seq = 3")
    service = open_service(path)
    assert service.snapshot().history_size == 20
    service.close()
    assert main(["history", "info", "--file", str(path)]) == 0
    assert "secret" not in caplog.text + "".join(capfd.readouterr())
