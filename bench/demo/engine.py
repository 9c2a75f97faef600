"""The server under test: what it is started with, and what it accepts."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cpu_engine.make_model import make_model
from cpu_engine.server import EngineServer, has_gpu_kernels

CPU_POOL_TOKENS = 65_536
"""KV pool of the CPU engine: it holds every running request, so that only slots are scarce."""

CPU_SLOTS, GPU_SLOTS = 8, 32
"""Requests in the running batch. Few slots: a queue forms within some hundred requests, and most
of the time to the last token is a wait that a policy can change."""

CPU_STEP_MS = 8.0
"""Length of the CPU engine's steps (see ``cpu_engine/pace.py``); computing one takes about 5."""

STREAM_INTERVAL = 16
"""Tokens per streamed event after the first one. Client and server share the same cores."""

# Prints what --schedule-policy accepts once the installed plug-ins are loaded.
PROBE = """
import argparse, json, sys
from sglang.srt.plugins import load_plugins
load_plugins()
from sglang.srt.server_args import ServerArgs
parser = argparse.ArgumentParser()
ServerArgs.add_cli_args(parser)
action = next(a for a in parser._actions if "--schedule-policy" in a.option_strings)
sys.stdout.write("\\n" + json.dumps(list(action.choices)) + "\\n")
"""


@dataclass(frozen=True)
class Engine:
    """How servers are started; the same for every policy.

    Attributes:
        model: directory or name of the model.
        label: the model in words, for the report.
        cpu: whether the CPU engine serves it.
        max_running: requests in the running batch at most.
        step_ms: an engine step takes at least this long, milliseconds; 0 leaves it to the engine.
        extra_args: the user's own server arguments, which win.
    """

    model: str
    label: str
    cpu: bool
    max_running: int
    step_ms: float = 0.0
    extra_args: tuple[str, ...] = ()

    def arguments(self, policy: str) -> list[str]:
        """Server arguments for a run under ``policy``."""
        pool = ["--max-total-tokens", str(CPU_POOL_TOKENS)] if self.cpu else []
        return [
            *("--schedule-policy", policy),
            *("--max-running-requests", str(self.max_running)),
            *pool,
            *("--stream-interval", str(STREAM_INTERVAL)),
            "--enable-custom-logit-processor",
            *self.extra_args,
        ]

    def server(self, policy: str, log: Path) -> EngineServer:
        """A server that is not started yet."""
        return EngineServer(
            self.model,
            self.arguments(policy),
            log_path=log,
            cpu=self.cpu,
            step_ms=self.step_ms,
            start_timeout_s=240.0 if self.cpu else 1800.0,
        )


def make_engine(
    model_path: str | None,
    max_running: int | None,
    step_ms: float | None,
    extra_args: Sequence[str],
) -> Engine:
    """Choose the engine: a GPU if SGLang is installed for it, else the CPU engine.

    Raises:
        ValueError: there is a GPU engine, but no model was named.
    """
    cpu = not has_gpu_engine()
    if model_path is None and not cpu:
        raise ValueError(
            "SGLang is installed for the GPU of this machine: name the model to serve with "
            "--model-path (the tiny model of the demo is for machines without a GPU)"
        )
    default_slots = CPU_SLOTS if cpu else GPU_SLOTS
    return Engine(
        model=model_path or str(make_model()),
        label=Path(model_path).name if model_path else "tiny random Llama",
        cpu=cpu,
        max_running=max_running or default_slots,
        step_ms=(CPU_STEP_MS if cpu else 0.0) if step_ms is None else step_ms,
        extra_args=tuple(extra_args),
    )


def has_gpu_engine() -> bool:
    """Whether a GPU is there and the installed SGLang has its GPU kernels."""
    return bool(gpu_name()) and has_gpu_kernels()


def gpu_name() -> str:
    """Name of the first GPU; empty without one."""
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout else ""


def hardware(engine: Engine) -> str:
    """Where the server runs, in words."""
    cores = len(os.sched_getaffinity(0))
    where = f"{cores} CPU cores" if engine.cpu else gpu_name()
    return f"{where}, steps of {engine.step_ms:g} ms" if engine.step_ms else where


def sglang_version() -> str:
    """Version of the installed SGLang.

    Raises:
        importlib.metadata.PackageNotFoundError: there is none.
    """
    return importlib.metadata.version("sglang")


def accepted_policies(engine: Engine) -> list[str]:
    """What this SGLang, with its plug-ins, takes for ``--schedule-policy``.

    Raises:
        RuntimeError: SGLang could not be asked; the message ends with what it said.
    """
    env = EngineServer(engine.model, cpu=engine.cpu, log_path=os.devnull).environment()
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"SGLang cannot be imported:\n{done.stderr[-2000:]}")
    names: list[str] = json.loads(done.stdout.strip().splitlines()[-1])
    return names


def require_policies(wanted: Sequence[str], accepted: Sequence[str]) -> None:
    """Refuse a policy that the server would refuse.

    Raises:
        ValueError: naming it, and what is accepted.
    """
    unknown = [name for name in wanted if name not in accepted]
    if unknown:
        raise ValueError(
            f"--policies: the installed SGLang does not know {', '.join(unknown)}; "
            f"it accepts {', '.join(sorted(accepted))}"
        )
