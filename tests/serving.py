"""Real SGLang servers for the tests: on the CPU engine, or on the GPU where that is installed."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from cpu_engine import make_model
from cpu_engine.server import EngineServer, has_gpu_kernels


def start_server(*args: str, env: Mapping[str, str | None] | None = None) -> EngineServer:
    """A server of the tiny model, to be used as ``with start_server(...) as server:``.

    Custom logit processors are allowed, so that requests can replay their output length.
    """
    arguments = ["--enable-custom-logit-processor", *args]
    return EngineServer(model_directory(), arguments, env, cpu=not has_gpu_kernels())


@functools.cache
def model_directory() -> Path:
    """The tiny model, written at first need.

    In a process of its own: importing its libraries under "warnings as errors" crashes one of
    them (sentencepiece), and torch in this process would hide who else imports it.
    """
    command = [sys.executable, make_model.__file__]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.splitlines()[-1])


def engine_environment(**more: str) -> dict[str, str]:
    """The environment in which SGLang can be imported here, for a process of a test's own."""
    return EngineServer("", cpu=not has_gpu_kernels()).environment() | more
