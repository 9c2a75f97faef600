"""How late an event loop runs what is due, and whose fault that can be."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.loop_probe import stretches

PERIOD_S = 0.001
WORKER = "sagesched-predict"
LOOP_PRIORITY, OTHER_PRIORITY = 20, 10

Tick = tuple[float, float, float, float]
"""Seconds from when it was due to when it ran, and CPU seconds meanwhile: of our code on the loop,
of the loop's thread, of the prediction thread."""


class Ticker:
    """A task that is due every millisecond. Start it on the loop."""

    def __init__(self) -> None:
        self.ticks: list[Tick] = []
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> list[Tick]:
        """What was seen."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        return self.ticks

    async def _run(self) -> None:
        worker = worker_thread()
        clock = None if worker is None else time.pthread_getcpuclockid(worker.ident or 0)
        while True:
            wall, own, ours = time.perf_counter(), time.thread_time(), stretches.total
            others = 0.0 if clock is None else time.clock_gettime(clock)
            await asyncio.sleep(PERIOD_S)
            late = time.perf_counter() - wall - PERIOD_S
            worked = 0.0 if clock is None else time.clock_gettime(clock) - others
            self.ticks.append((late, stretches.total - ours, time.thread_time() - own, worked))


def worker_thread() -> threading.Thread | None:
    """The prediction thread of this process."""
    return next((thread for thread in threading.enumerate() if thread.name == WORKER), None)


@contextmanager
def real_time() -> Iterator[None]:
    """All threads of this process run whenever they can, this one first: no other program delays
    them, so that what delay remains is their own.

    Raises:
        PermissionError: this user may not ask for that.
    """
    threads = [int(entry.name) for entry in Path("/proc/self/task").iterdir()]
    policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK  # not for what they start
    for thread in threads:
        priority = LOOP_PRIORITY if thread == threading.get_native_id() else OTHER_PRIORITY
        os.sched_setscheduler(thread, policy, os.sched_param(priority))
    try:
        yield
    finally:
        for thread in threads:
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))
