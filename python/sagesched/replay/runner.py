"""Tasks in parallel processes, each process with its own harness.

A replay patches the clock of its process and builds SGLang's scheduler once, so processes are
kept for many tasks of the same kind, and are never forked from this one. They come from a fork
server that has imported SGLang already, which takes ten seconds. A process that dies takes only
its own task with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Generic, TypeVar

from sagesched.replay.processes import Starter, WorkerProcess

Task = TypeVar("Task")
Result = TypeVar("Result")


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
        preload: a module that the fork server imports; None: new interpreters, without one.
    """

    def __init__(
        self,
        make_worker: Callable[[Any], Callable[[Task], Result]],
        group_of: Callable[[Task], Hashable],
        jobs: int,
        preload: str | None = None,
    ) -> None:
        if jobs < 1:
            raise ValueError(f"jobs must be at least 1, got {jobs}")
        self._make_worker = make_worker
        self._group_of = group_of
        self._jobs = jobs
        self._starter = Starter(preload)
        self._idle: list[WorkerProcess] = []
        self._busy: dict[Connection, tuple[WorkerProcess, int, float]] = {}

    def __enter__(self) -> WorkerPool[Task, Result]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for process in [*self._idle, *(process for process, _, _ in self._busy.values())]:
            process.stop()
        self._idle.clear()
        self._busy.clear()

    def warm_up(self, group: Hashable, count: int) -> None:
        """Start processes for a group before there is work for them, as far as ``jobs`` allows."""
        for _ in range(min(count, self._jobs) - len(self._idle) - len(self._busy)):
            self._idle.append(WorkerProcess(self._starter, self._make_worker, group))

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

    def _process_for(self, group: Hashable) -> WorkerProcess:
        for process in self._idle:
            if process.group == group:
                self._idle.remove(process)
                return process
        if self._idle and len(self._idle) + len(self._busy) >= self._jobs:
            self._idle.pop(0).stop()
        return WorkerProcess(self._starter, self._make_worker, group)
