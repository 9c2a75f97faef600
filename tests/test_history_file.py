"""The history file: what is stored, what a restart brings back, and how large it may grow."""

from __future__ import annotations

import logging
import os
import stat
import time
from pathlib import Path

import numpy as np
import pytest

from sagesched.predict import HistoryOptions
from sagesched.predict.about import About
from sagesched.predict.features import FORMAT, Options, feature_rows
from sagesched.predict.hashed import HashedEmbedder
from sagesched.predict.stats import Counters
from sagesched.predict.store import keeper as keeping
from sagesched.predict.store import options as options_module
from sagesched.predict.store import waiting
from sagesched.predict.store.opening import open_history
from sagesched.predict.store.record import MAX_TEXT_CHARS, Record, storable

from .history_files import (
    NoWorker,
    count,
    make_keeper,
    open_service,
    predictions,
    rows,
    teach,
    wait_until,
)
from .prediction import settled

SECRET = "my password is swordfish"


class OtherEmbedder(HashedEmbedder):
    name = "other"


def test_predictions_after_a_restart_are_those_before_it(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    service = open_service(path)
    teach(service, range(150))
    before = predictions(service)
    service.close()
    again = open_service(path)
    stats = again.snapshot()
    assert (stats.history_restored, stats.history_size, stats.recorded) == (150, 150, 0)
    for old, new in zip(before, predictions(again), strict=True):
        np.testing.assert_array_equal(old, new)
    again.close()
    assert count(path) == 150  # what is read back is not written again


def test_a_restart_reads_the_newest_records_only(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    service = open_service(path)
    teach(service, range(60))
    service.close()
    again = open_service(path, capacity=40)
    assert again.snapshot().history_restored == 40
    again.close()


def test_what_is_stored_and_that_prompts_are_not(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    service = open_service(path)
    began = time.time()
    teach(service, [1], About("model-a", SECRET.upper()))
    teach(service, [0])
    wait_until(lambda: service.snapshot().history_saved == 2)
    service.close()
    found = rows(path, 'SELECT "group", tenant, output_tokens, finished, text FROM records')
    assert found == [("model-a", SECRET.upper(), 11, 1, None), ("", "", 900, 0, None)]
    assert rows(path, "SELECT embedder, features FROM spaces") == [("hashed", FORMAT)]
    assert abs(rows(path, "SELECT max(time) FROM records")[0][0] - began) < 60
    assert b"say hi" not in path.read_bytes()


def test_prompts_are_stored_where_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    service = open_service(path, store_text=True)
    teach(service, [1])
    service.close()
    assert rows(path, "SELECT text FROM records") == [("say hi to 1",)]


@pytest.mark.parametrize("text", ["\ud800 lone", "nul \0 inside", "", "x" * 3_000_000])
def test_any_prompt_can_be_stored(tmp_path: Path, text: str) -> None:
    path = tmp_path / "history.db"
    keeper = make_keeper(path)
    vector = np.zeros(4, np.float32)
    keeper.append(Record(vector, 10**30, True, "g" * 5000, text[:9], storable(text)))
    keeper.close()
    ((group, tokens, stored),) = rows(path, 'SELECT "group", output_tokens, text FROM records')
    assert len(group) == 256
    assert tokens == 2**63 - 1
    assert len(stored) <= MAX_TEXT_CHARS
    assert stored[:3] == text[:3].replace("\ud800", "?")


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    path.touch(0o644)
    mask = os.umask(0)
    try:
        service = open_service(path)
        teach(service, [1])
        wait_until(lambda: service.snapshot().history_saved == 1)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    finally:
        os.umask(mask)
        service.close()
    names = {"history.db", "history.db-wal", "history.db-shm", "history.db.lock"}
    assert modes == dict.fromkeys(names, 0o600)


def test_records_of_another_embedder_are_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "history.db"
    first = open_service(path)
    teach(first, range(5))
    first.close()
    with caplog.at_level(logging.INFO, "sagesched"):
        other = open_service(path, OtherEmbedder())
    assert other.snapshot().history_restored == 0
    assert "5 records of another embedder (hashed," in caplog.text
    teach(other, range(3))
    other.close()
    again = open_service(path)
    assert again.snapshot().history_restored == 5
    again.close()
    assert count(path) == 8


def test_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options_module, "KEEP_AT_LEAST", 0)
    monkeypatch.setattr(keeping, "PRUNE_AT_MOST", 30)
    path = tmp_path / "history.db"
    service = open_service(path, capacity=20)
    teach(service, range(160))
    wait_until(lambda: service.snapshot().history_saved == 160 and count(path) == 40)
    service.close()
    assert rows(path, "SELECT min(seq), max(seq) FROM records") == [(121, 160)]


def test_by_default_more_is_kept_than_a_small_server_needs(tmp_path: Path) -> None:
    assert HistoryOptions(tmp_path, 10).keep == 20_000
    assert HistoryOptions(tmp_path, 50_000).keep == 100_000


def test_where_too_many_wait_for_the_disk_records_are_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MAX_WAITING", 10)
    monkeypatch.setattr(keeping, "INTERVAL_S", 60.0)  # a disk that takes nothing
    counters = Counters()
    keeper = make_keeper(tmp_path / "history.db", counters)
    for n in range(25):
        keeper.append(Record(np.zeros(4, np.float32), n, True))
    assert counters.snapshot(NoWorker()).history_dropped == 15
    keeper.close()
    assert counters.snapshot(NoWorker()).history_saved == 10
    assert count(tmp_path / "history.db") == 10


def test_rows_that_cannot_be_learned_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    service = open_service(path)
    teach(service, range(5))
    service.close()
    file = open_history(path)
    file.connection.execute("UPDATE records SET vector = x'000000' WHERE seq = 1")
    file.connection.execute("UPDATE records SET output_tokens = -5 WHERE seq = 2")
    file.connection.execute("UPDATE records SET output_tokens = 'many' WHERE seq = 3")
    file.close()
    again = open_service(path)
    assert again.snapshot().history_restored == 2
    teach(again, [9])
    assert settled(again).recorded == 1
    again.close()


def test_a_changed_row_of_features_needs_a_new_format() -> None:
    """If this fails, features or what a sample is have changed: raise `features.FORMAT` and put
    the new number here, or old vectors in history files would be compared with new ones."""
    texts = ["", "What is 2 + 2?", "Write a detailed essay in 300 words:\n- one\n- two; " * 30]
    asked = [Options(), Options(64, 0.0, True, True), Options(max_new_tokens=0)]
    rounded = np.round(feature_rows(texts, asked).astype(np.float64), 3)
    weights = np.arange(1, rounded.size + 1).reshape(rounded.shape)
    assert (FORMAT, round(float((rounded * weights).sum()), 2)) == (1, 5784.67)
