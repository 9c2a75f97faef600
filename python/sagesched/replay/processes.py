"""Worker processes: started without a share in Ctrl-C, and their death explained."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, get_all_start_methods, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from sagesched.replay.trace import TraceError

LOG_TAIL_CHARACTERS = 600
STOP_SECONDS = 5.0
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Read by the numerical libraries when they are loaded, which is before a harness is made."""


class Starter:
    """Starts processes that never see Ctrl-C, which reaches all: the parent acts on it."""

    def __init__(self, preload: str | None) -> None:
        self._served = False
        self.context: Any = get_context("spawn")
        if preload is not None and "forkserver" in get_all_start_methods():
            self._served = True
            self.context = get_context("forkserver")
            self.context.set_forkserver_preload([preload])

    def start(self, target: Callable[..., None], arguments: tuple[Any, ...]) -> BaseProcess:
        """A running process."""
        process: BaseProcess = self.context.Process(target=target, args=arguments)
        if self._served:
            with _interrupts_ignored(), _one_thread_each():  # which the server's processes inherit
                forkserver.ensure_running()
            process.start()  # waits for the server's imports; may be interrupted here
        else:
            with _interrupts_ignored(), _one_thread_each():
                process.start()
        return process


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """A process started in here ignores Ctrl-C for good; this one only for the moment."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stock = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, stock)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """A process started in here computes with one thread, unless the user said otherwise: there are
    as many processes as wanted, and a sum over several threads may differ in its last bits."""
    added = [name for name in THREAD_VARIABLES if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


class WorkerProcess:
    """The parent's side of one worker process."""

    def __init__(
        self, starter: Starter, make_worker: Callable[[Any], Callable[[Any], Any]], group: Hashable
    ) -> None:
        self.group = group
        self.alive = True
        self._log = tempfile.NamedTemporaryFile(prefix="sagesched-replay-", suffix=".log")  # noqa: SIM115
        self.connection, theirs = starter.context.Pipe()
        self._process = starter.start(_serve, (theirs, make_worker, group, self._log.name))
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


def _serve(
    connection: Connection, make_worker: Callable[[Any], Callable[[Any], Any]], group: Any, log: str
) -> None:
    """The worker process: tasks in, results out, until the other side is gone."""
    try:
        _redirect_output(log)
    except FileNotFoundError:
        return  # the parent was interrupted while this process was being made
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
    """What SGLang prints goes to a file, whose end is shown if the process dies."""
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
