"""Runs in parallel processes, each kept as soon as it has ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

from bench.replay.store import Key, Store
from sagesched.replay.progress import Progress
from sagesched.replay.runner import WorkerPool
from sagesched.replay.tasks import Result, Run, Saturation, Task


def run_and_keep(
    pool: WorkerPool[Task, Result],
    tasks: Sequence[tuple[Task, Key]],
    store: Store,
    *,
    progress: Progress,
    failures: list[str],
    deadline: float,
) -> None:
    """Do them; what fails is added to ``failures``, and nothing is begun after the deadline.

    Args:
        tasks: with the key that each is kept under.
        deadline: on ``time.monotonic``.
    """
    if not tasks or time.monotonic() > deadline:
        return
    progress.start(len(tasks))
    for outcome in pool.run([task for task, _ in tasks]):
        task, key = tasks[outcome.index]
        progress.ended(str(task), outcome.error)
        if outcome.result is None:
            failures.append(f"{key}: {outcome.error}")
        elif isinstance(outcome.result, Run):
            store.add(key, {"row": asdict(outcome.result.row)})
        elif isinstance(outcome.result, Saturation):
            store.add(key, asdict(outcome.result))
        if time.monotonic() > deadline:
            break
    progress.close()
