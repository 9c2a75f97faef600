"""A real SGLang server as a context manager: on the CPU engine, or on a GPU with ``cpu=False``."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import math
import os
import random
import secrets
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from .pace import STEP_VARIABLE

SCRIPTS = Path(__file__).resolve().parent.parent
GUARD = Path(__file__).with_name("guard.py")
HOST = "127.0.0.1"

# The unmodified SGLang runs without a GPU under these. They come before the caller's
# arguments, of which argparse takes the last. Without a bound on the KV pool SGLang would fill
# most of the machine's memory with it: two minutes instead of ten seconds, at 256 bytes a token.
CPU_ARGS = [
    *("--device", "cpu", "--attention-backend", "torch_native"),
    *("--sampling-backend", "pytorch", "--grammar-backend", "none"),
    *("--max-total-tokens", "65536"),
]
CPU_ENV = {"SGLANG_USE_CPU_ENGINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
RANK_FLAGS = [
    ["--tp-size", "--tp", "--tensor-parallel-size"],
    ["--pp-size", "--pp", "--pipeline-parallel-size"],
    ["--dp-size", "--dp", "--data-parallel-size"],
]

GPU_KERNEL_WHEELS = ("sglang-kernel", "sgl-kernel")

# No proxy from the environment may stand between us and the local machine.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class EngineError(RuntimeError):
    """The server did not start; the message ends with the last lines of its log."""


class EngineServer:
    """``python -m sglang.launch_server`` on a free local port, ready when the block begins.

    Args:
        model_path: directory of the model (``make_model()`` gives the tiny one).
        args: further server arguments, such as ``["--schedule-policy", "fcfs"]``.
        env: environment variables for the server; None as a value removes one.
        log_path: file for the server's output; by default a temporary one that is
            removed again when the server is stopped.
        cpu: add the switches of the CPU engine.
        port: 0 chooses a free one.
        step_ms: at least this long takes an engine step in which a request replays its length
            (``eos_at.py``), milliseconds; see ``pace.py``.
        start_timeout_s: how long the server may take until it is healthy.

    Raises (on entering): EngineError when the server exits or is not healthy in time.

    However this process ends, the server and all its children end with it, unless
    ``detach()`` was called.
    """

    def __init__(
        self,
        model_path: str | Path,
        args: Sequence[str] = (),
        env: Mapping[str, str | None] | None = None,
        log_path: str | Path | None = None,
        *,
        cpu: bool = True,
        port: int = 0,
        step_ms: float = 0.0,
        start_timeout_s: float = 300.0,
    ) -> None:
        self.model_path = str(model_path)
        self.args = [str(a) for a in args]
        self.env = dict(env or {})
        self.cpu = cpu
        self.port = port
        self.step_ms = step_ms
        self.start_timeout_s = start_timeout_s
        self._own_log = log_path is None
        self.log_path = Path(log_path) if log_path is not None else _temporary_log()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Base address, such as ``http://127.0.0.1:23456``."""
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process to send SIGTERM to in order to stop the server; None when not started."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether the server's main process is alive."""
        return self._process is not None and self._process.poll() is None

    def command(self) -> list[str]:
        """The server's command line."""
        return [
            *(sys.executable, "-m", "sglang.launch_server", "--model-path", self.model_path),
            *(CPU_ARGS if self.cpu else []),
            *("--host", HOST, "--port", str(self.port)),
            *self.args,
        ]

    def environment(self) -> dict[str, str]:
        """The server's environment."""
        env = dict(os.environ)
        if self.cpu:
            env |= {"HF_HUB_OFFLINE": "1", **CPU_ENV, **_core_binding(self.args)}
        env[STEP_VARIABLE] = str(self.step_ms)
        for name, value in self.env.items():
            env.pop(name, None)
            if value is not None:
                env[name] = value
        # SGLang looks for tools such as ninja beside its Python, activated or not.
        env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", "")])
        # The server unpickles cpu_engine.eos_at by name.
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SCRIPTS), env.get("PYTHONPATH")]))
        return env

    def start(self) -> EngineServer:
        """Start the server and wait until it is healthy."""
        if self.running:
            raise EngineError(f"the server at {self.url} is running already; stop() it first")
        self.port = self.port or free_port()
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(GUARD), *self.command()],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                start_new_session=True,  # Ctrl-C reaches us alone, and we stop it in order
            )
        try:
            self._wait_until_healthy()
        except BaseException:
            self._end_process()  # the log stays for the reader of the error
            raise
        return self

    def stop(self) -> None:
        """Stop the server and all its processes; harmless when it is not running."""
        self._end_process()
        if self._own_log:
            self.log_path.unlink(missing_ok=True)

    def detach(self) -> int:
        """Leave the server running when this process ends; SIGTERM to the returned id stops it."""
        if self._process is None or self._process.stdin is None:
            raise EngineError("there is no running server to detach from")
        self._process.stdin.write(b"k")
        self._process.stdin.close()
        pid = self._process.pid
        self._process.returncode = 0  # so that Popen does not warn about a living child
        self._process = None
        return pid

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of the server's log."""
        text = self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def healthy(self) -> bool:
        """Whether it answers and serves."""
        return _healthy(self.url)

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + self.start_timeout_s
        while not self.healthy():
            if not self.running:
                raise self._failure("exited before it was ready")
            if time.monotonic() > deadline:
                raise self._failure(f"was not healthy within {self.start_timeout_s:g} s")
            time.sleep(0.25)

    def _failure(self, what: str) -> EngineError:
        return EngineError(
            f"SGLang {what}: {shlex.join(self.command())}\n"
            f"Last lines of its log ({self.log_path}):\n{self.log_tail()}"
        )

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()  # the guard ends the server's process group
        process.wait()

    def __enter__(self) -> EngineServer:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def has_gpu_kernels() -> bool:
    """Whether the installed SGLang has its CUDA kernels, which the CPU engine goes without."""
    return any(map(_installed, GPU_KERNEL_WHEELS))


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def free_port() -> int:
    """A free local TCP port below the range the kernel gives to outgoing connections."""
    for _ in range(200):
        port = random.randint(20_000, 29_999)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise EngineError(f"no free port between 20000 and 29999 on {HOST}; stop some servers")


def _healthy(url: str) -> bool:
    try:
        with _direct.open(url + "/health", timeout=30) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):  # not listening yet, or 503 while it loads
        return False


def _temporary_log() -> Path:
    """A name nobody can guess; the file comes with the server."""
    return Path(tempfile.gettempdir()) / f"sagesched-server-{secrets.token_hex(8)}.log"


def _core_binding(args: Sequence[str]) -> dict[str, str]:
    """One core per rank: by itself SGLang gives each a NUMA node, and refuses to start without."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for names in RANK_FLAGS:
        parser.add_argument(*names, type=int, default=1)
    try:
        ranks = math.prod(vars(parser.parse_known_args(args)[0]).values())
    except argparse.ArgumentError:  # the server itself says it better
        return {}
    if ranks < 2 or "SGLANG_CPU_OMP_THREADS_BIND" in os.environ:
        return {}
    cores = sorted(os.sched_getaffinity(0))
    binding = "|".join(str(cores[i % len(cores)]) for i in range(ranks))
    return {"SGLANG_CPU_OMP_THREADS_BIND": binding}
