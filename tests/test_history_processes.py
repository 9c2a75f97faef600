"""Several processes and one history file; processes that are killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from sagesched.predict.operations import Learn
from sagesched.predict.stats import Counters
from sagesched.predict.store.following import Follower
from sagesched.predict.store.opening import open_history
from sagesched.predict.store.record import Record

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

CONTEXT = multiprocessing.get_context("spawn")
PATIENCE_S = 60.0


def start(target: Any, *args: Any) -> tuple[BaseProcess, Any]:
    """A real process, and this end of a pipe to it."""
    here, there = CONTEXT.Pipe()
    process = CONTEXT.Process(target=target, args=(*args, there), daemon=True)
    process.start()
    return process, here


def receive(pipe: Any) -> Any:
    assert pipe.poll(PATIENCE_S), "the other process says nothing"
    return pipe.recv()


def _learn_for_ever(path: Path, pipe: Any) -> None:
    service = open_service(path)
    n = 0
    while True:
        teach(service, [n])
        pipe.send((n, time.time()))
        n += 1
        time.sleep(0.005)


def test_kill_9_loses_at_most_the_last_second(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    process, pipe = start(_learn_for_ever, path)
    learned = [receive(pipe)]
    began = time.time()
    while time.time() < began + 2.5 or sum(when < time.time() - 1.0 for _, when in learned) <= 20:
        learned.append(receive(pipe))
    assert process.pid is not None
    killed = time.time()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    while pipe.poll():
        try:
            learned.append(pipe.recv())
        except EOFError:
            break
    safe = sum(1 for _, when in learned if when < killed - 1.0)
    assert safe > 20
    again = open_service(path)
    stats = again.snapshot()
    again.close()
    assert stats.history_restored >= safe
    assert (stats.history_failures, len(list(tmp_path.glob("*aside*")))) == (0, 0)


def _learn_and_listen(path: Path, first: int, last: int, pipe: Any) -> None:
    service = open_service(path)
    pipe.send("ready")
    assert pipe.recv() == "go"
    teach(service, range(first, last))
    settled(service, lambda stats: (stats.history_size, stats.history_saved) == (120, 60))
    pipe.send((service.snapshot(), predictions(service)))
    service.close()


def test_two_processes_learn_from_each_other(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    both = [start(_learn_and_listen, path, first, first + 60) for first in (0, 60)]
    for _, pipe in both:
        assert receive(pipe) == "ready"
    for _, pipe in both:
        pipe.send("go")
    answers = [receive(pipe) for _, pipe in both]
    for process, _ in both:
        process.join()
    for stats, _ in answers:
        assert (stats.recorded, stats.history_shared, stats.history_saved) == (60, 60, 60)
    assert count(path) == 120
    assert rows(path, "SELECT count(DISTINCT writer) FROM records") == [(2,)]
    # Each learned its own first: the order differs, so the laws are alike and not the same.
    for one, other in zip(answers[0][1], answers[1][1], strict=True):
        assert np.abs(np.cumsum(one) - np.cumsum(other)).max() < 0.25


def test_what_one_writes_the_other_learns_within_seconds(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    here, there = open_service(path), open_service(path)
    began = time.monotonic()
    teach(here, range(20))
    stats = settled(there, lambda stats: stats.history_shared == stats.history_size == 20)
    assert time.monotonic() - began < 15.0  # mostly within one, on a machine that is not busy
    assert stats.recorded == 0
    here.close()
    there.close()


def test_of_many_new_records_only_the_newest_are_learned(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    small, large = open_service(path, capacity=50), open_service(path)
    teach(large, range(120))
    wait_until(lambda: large.snapshot().history_saved == 120)
    stats = settled(small, lambda stats: stats.history_size == 50)
    small.close()
    large.close()
    assert 50 <= stats.history_shared <= 120
    assert count(path) == 120


def test_a_busy_worker_is_left_alone(tmp_path: Path) -> None:
    """Nothing more is offered while a slice waits, and looking takes no longer than agreed."""
    path = tmp_path / "history.db"
    writer = make_keeper(path)
    for n in range(50):
        writer.append(Record(np.full(4, n, np.float32), n, True))
    writer.close()
    file = open_history(path)
    offered: list[Learn] = []
    follower = Follower(writer=1, capacity=100, stopped=threading.Event())

    def look(accept: bool) -> None:
        began = time.monotonic()
        follower.advance(file, 1, 0.1, lambda learn: accept and (offered.append(learn) or True))
        assert time.monotonic() - began < 0.9

    look(accept=False)
    assert (follower.seen, offered) == (None, [])
    look(accept=True)
    look(accept=True)
    assert (follower.seen, len(offered)) == (8, 1)
    learned = []
    for _ in range(20):
        while offered:
            learn = offered.pop()
            learned += [record.output_tokens for record in learn.records]
            learn.done.set()
        look(accept=True)
    file.close()
    assert learned == list(range(50))


def _write(path: Path, records: int, pipe: Any) -> None:
    counters = Counters()
    keeper = make_keeper(path, counters)
    pipe.send("ready")
    assert pipe.recv() == "go"
    for n in range(records):
        keeper.append(Record(np.full(4, n, np.float32), n, True))
        if n % 100 == 99:
            time.sleep(0.02)
    keeper.close(PATIENCE_S)
    stats = counters.snapshot(NoWorker())
    pipe.send((stats.history_saved, stats.history_dropped, stats.history_failures))


def test_four_processes_write_at_once_and_all_arrives(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    path.write_bytes(b"garbage that one of the four sets aside " * 300)
    writers = [start(_write, path, 1500) for _ in range(4)]
    for _, pipe in writers:
        assert receive(pipe) == "ready"
    for _, pipe in writers:
        pipe.send("go")
    for process, pipe in writers:
        assert receive(pipe) == (1500, 0, 0)
        process.join()
    assert count(path) == 6000
    assert len(list(tmp_path.glob("history.db.set-aside-*"))) == 1
    # In the order of each writer.
    found = rows(path, "SELECT writer, group_concat(output_tokens) FROM records GROUP BY writer")
    assert [order for _, order in found] == [",".join(map(str, range(1500)))] * 4
