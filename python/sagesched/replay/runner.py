"""Tasks in parallel processes, each process with its own harness.

A replay patches the clock of its process and builds SGLang's scheduler once, so processes are
spawned, not forked, and are kept for many tasks of the same kind. A process that dies takes only
its own task with it.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Generic, TypeVar

from sagesched.replay.trace import TraceError

Task = TypeVar("Task")
Result = TypeVar("Result")

LOG_TAIL_CHARACTERS = 600
STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Outcome(Generic[Task, Result]):
    """What became of a task.

    Attributes:
        index: position of the task among those given.
        task: the task.
        result: what the worker returned; None if it failed.
        error: why it failed; empty if it did not.
        seconds: real time it took.
    """

    index: int
    task: Task
    result: Result | None
    error: str
    seconds: float


class WorkerPool(Generic[Task, Result]):
    """Up to ``jobs`` processes that work through tasks; a context manager.

    Args:
        make_worker: called in a new process with a task's group, returns the function that does
            the tasks of this group; picklable, like groups, tasks and results.
        group_of: tasks of one group can be done by one process, one after the other.
        jobs: most processes at a time, at least 1.
    """

    def __init__(
        self,
        make_worker: Callable[[Any], Callable[[Task], Result]],
        group_of: Callable[[Task], Hashable],
        jobs: int,
    ) -> None:
        if jobs < 1:
            raise ValueError(f"jobs must be at least 1, got {jobs}")
        self._make_worker = make_worker
        self._group_of = group_of
        self._jobs = jobs
        self._idle: list[_Process] = []
        self._busy: dict[Connection, tuple[_Process, int, float]] = {}

    def __enter__(self) -> WorkerPool[Task, Result]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for process in [*self._idle, *(process for process, _, _ in self._busy.values())]:
            process.stop()
        self._idle.clear()
        self._busy.clear()

    def warm_up(self, group: Hashable, count: int) -> None:
        """Start processes for a group before there is work for them, as far as ``jobs`` allows."""
        for _ in range(min(count, self._jobs) - len(self._idle) - len(self._busy)):
            self._idle.append(_Process(self._make_worker, group))

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome[Task, Result]]:
        """Do the tasks; yields each as it ends, not in order. Failures are outcomes, too."""
        waiting = list(range(len(tasks)))[::-1]
        while waiting or self._busy:
            while waiting and len(self._busy) < self._jobs:
                index = waiting.pop()
                process = self._process_for(self._group_of(tasks[index]))
                process.send(tasks[index])
                self._busy[process.connection] = (process, index, time.monotonic())
            for connection in wait(list(self._busy)):
                assert isinstance(connection, Connection)
                process, index, start = self._busy.pop(connection)
                good, value = process.receive()
                if process.alive:
                    self._idle.append(process)
                yield Outcome(
                    index,
                    tasks[index],
                    value if good else None,
                    "" if good else str(value),
                    time.monotonic() - start,
                )

    def _process_for(self, group: Hashable) -> _Process:
        for process in self._idle:
            if process.group == group:
                self._idle.remove(process)
                return process
        if self._idle and len(self._idle) + len(self._busy) >= self._jobs:
            self._idle.pop(0).stop()
        return _Process(self._make_worker, group)


class _Process:
    """The parent's side of one worker process."""

    def __init__(self, make_worker: Callable[[Any], Callable[[Any], Any]], group: Hashable) -> None:
        self.group = group
        self.alive = True
        self._log = tempfile.NamedTemporaryFile(prefix="sagesched-replay-", suffix=".log")  # noqa: SIM115
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make_worker, group, self._log.name))
        with _interrupts_ignored():
            self._process.start()
        theirs.close()

    def send(self, task: Any) -> None:
        """Give it a task; if it is dead, `receive` will say so."""
        try:
            self.connection.send(task)
        except OSError:
            self.alive = False

    def receive(self) -> tuple[bool, Any]:
        """(True, result) or (False, error message)."""
        try:
            good, alive, value = self.connection.recv()
        except (EOFError, OSError):
            return False, self._cause_of_death()
        if not alive:
            self.stop()
        return good, value

    def _cause_of_death(self) -> str:
        self._process.join(STOP_SECONDS)
        code = self._process.exitcode
        tail = self._log_tail()
        self.stop()
        killed = " (killed: was there enough memory? try fewer --jobs)" if code == -9 else ""
        return f"the worker process ended with status {code}{killed}" + (tail and f":\n{tail}")

    def _log_tail(self) -> str:
        with open(self._log.name, errors="replace") as log:
            return log.read()[-LOG_TAIL_CHARACTERS:].strip()

    def stop(self) -> None:
        """End it, whatever it is doing."""
        self.alive = False
        self.connection.close()
        self._process.terminate()
        self._process.join(STOP_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()
        self._log.close()


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """A process started in here never sees Ctrl-C, which reaches all; the parent acts on it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stock = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, stock)


def _serve(
    connection: Connection, make_worker: Callable[[Any], Callable[[Any], Any]], group: Any, log: str
) -> None:
    """The worker process: tasks in, results out, until the other side is gone."""
    _redirect_output(log)
    work: Callable[[Any], Any] | None = None
    start_error = ""
    try:
        work = make_worker(group)
    except BaseException as error:  # SystemExit too: libraries exit when they cannot start
        start_error = describe(error)
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        reply = _attempt(work, task) if work else (False, True, start_error)
        try:
            connection.send(reply)
        except OSError:
            return


def _attempt(work: Callable[[Any], Any], task: Any) -> tuple[bool, bool, Any]:
    """(good, the process may be used again, result or error)."""
    try:
        return True, True, work(task)
    except BaseException as error:  # whatever it was: this task's failure, and a fresh process
        return False, False, describe(error)


def _redirect_output(log: str) -> None:
    """SGLang is talkative: what it prints goes to a file, whose end is shown if the process dies."""
    target = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)


def describe(error: BaseException) -> str:
    """An error in one paragraph: the message of what a user can mend, else where it happened."""
    if type(error) in (TraceError, RuntimeError) and str(error):
        return str(error)
    where = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" ({os.path.basename(f.filename)}:{f.lineno})" for f in where)
    return f"{type(error).__name__}: {error}{place}"
