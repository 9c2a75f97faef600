"""Real balancers as processes: SGLang's gateway, and a Ray cluster with our router."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from cpu_engine.server import free_port

from .routing import PATIENT, wait_until

SMG = Path(sys.executable).with_name("smg")
ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def gateway(*workers: str) -> Iterator[str]:
    """SGLang's gateway in front of these servers; its address."""
    port, prometheus = free_port(), free_port()
    command = [SMG, "launch", "--worker-urls", *workers, "--policy", "consistent_hashing"]
    command += ["--host", "127.0.0.1", "--port", port, "--prometheus-port", prometheus]
    command += ["--worker-startup-check-interval", 1, "--health-check-interval-secs", 1]
    command += ["--health-failure-threshold", 1, "--health-success-threshold", 1]
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "NO_PROXY": "*"},
    )
    url = f"http://127.0.0.1:{port}"

    def all_healthy() -> bool:
        try:
            listed = httpx.get(f"{url}/workers", trust_env=False).json()["workers"]
        except httpx.HTTPError:
            return False
        return sum(worker["is_healthy"] for worker in listed) == len(workers)

    try:
        wait_until(all_healthy)
        yield url
    finally:
        process.kill()
        process.wait()


PATIENT_RAY = {
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "150",  # of a busy machine's proxy
    "RAY_USAGE_STATS_ENABLED": "0",
}


class RayCluster:
    """``ray_cluster.py`` in a process of its own, as a context manager."""

    def __init__(self, replicas: int) -> None:
        self.replicas = replicas

    def __enter__(self) -> RayCluster:
        try:
            self._start()
        except AssertionError:  # its own processes were not ready in time
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()
            self._start()
        limits = httpx.Limits(max_connections=100)
        self.client = httpx.Client(
            base_url=self.url, timeout=PATIENT, trust_env=False, limits=limits
        )
        return self

    def _start(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.ray_cluster", str(port), str(self.replicas)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **PATIENT_RAY, "PYTHONPATH": path},
            start_new_session=True,
        )
        self._wait()

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.process.communicate(timeout=PATIENT)

    def _wait(self) -> None:
        assert self.process.stdout is not None
        while (line := self.process.stdout.readline()) != "ready\n":
            assert line, "the Ray cluster did not start"

    def add_engines(self, *urls: str) -> None:
        """Deploy ``/engines``."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(urls) + "\n")
        self.process.stdin.flush()
        self._wait()

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """One request."""
        return self.client.post(path, json=body)

    def ask(self, text: str, tokens: int, **more: Any) -> httpx.Response:
        """One request to the stand-ins."""
        return self.post("/", {"text": text, "tokens": tokens, **more})
