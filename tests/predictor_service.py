"""Shared by the tests of the predictor service: the application in this process, or a real one."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagesched.cost import CostModel
from sagesched.predict import Embedder
from sagesched.predictor_service.app import create_app
from sagesched.predictor_service.engine import Engine, EngineConfig

from .prediction import GRID, PATIENT, ScriptedEmbedder

CONTRACT = {
    "key",
    "size_bucket",
    "expected_output_tokens_p50",
    "expected_output_tokens_p90",
    "predicted_cost_p50",
    "risk_score",
    "confidence_score",
    "fallback_level",
    "quantiles",
}
START_S = 60.0


class Application:
    """The service without a socket; every call runs on one event loop."""

    def __init__(
        self, make_embedder: Callable[[], Embedder], token: str | None = None, **config: Any
    ) -> None:
        self.engine = Engine(EngineConfig(GRID, CostModel(), **config), make_embedder)
        self.app = create_app(self.engine, token)
        self.runner = asyncio.Runner()

    def client(self) -> httpx.AsyncClient:
        """Errors of the application are raised here, not turned into answers."""
        transport = httpx.ASGITransport(app=self.app)  # type: ignore[arg-type]
        return httpx.AsyncClient(transport=transport, base_url="http://service")

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            async with self.client() as client:
                return await client.request(method, path, **arguments)

        return self.runner.run(send())

    def post(self, path: str, body: Any, **arguments: Any) -> httpx.Response:
        return self.request("POST", path, json=body, **arguments)

    def get(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("GET", path, **arguments)

    def settle(self) -> None:
        """Wait until everything that was told is learned."""
        give_up = time.monotonic() + PATIENT
        while self.engine.snapshot().pending and time.monotonic() < give_up:
            time.sleep(0.002)
        # The last batch has left the queue: a prediction comes after it.
        self.post("/predict", {"prompt": "settled?"})

    def wait(self, status: str = "ready") -> Application:
        give_up = time.monotonic() + PATIENT
        while self.engine.health().status != status:
            assert time.monotonic() < give_up, self.engine.health()
            time.sleep(0.002)
        return self

    def close(self) -> None:
        self.engine.close()
        self.runner.close()


@pytest.fixture
def embedder() -> ScriptedEmbedder:
    return ScriptedEmbedder()


@pytest.fixture
def make_application(embedder: ScriptedEmbedder) -> Iterator[Callable[..., Application]]:
    made: list[Application] = []

    def make(make_embedder: Callable[[], Embedder] = lambda: embedder, **options: Any) -> Any:
        made.append(Application(make_embedder, **{"deadline_s": PATIENT, **options}))
        return made[-1]

    yield make
    embedder.gate.set()
    for application in made:
        application.close()


@pytest.fixture
def application(make_application: Callable[..., Application]) -> Application:
    return make_application().wait()


class Process:
    """`sagesched predictor serve` on a port of its own, as a context manager."""

    def __init__(self, *arguments: str, log: Path, env: Mapping[str, str] | None = None) -> None:
        command = (sys.executable, "-m", "sagesched.cli", "predictor", "serve", "--port", "0")
        self.log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                (*command, "--embedder", "hashed", *arguments),
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
            )

    def __enter__(self) -> Process:
        give_up = time.monotonic() + START_S
        while (found := re.search(r"listening on (\S+)", self.log.read_text())) is None:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < give_up, self.log.read_text()
            time.sleep(0.02)
        self.url = found[1]
        self.client = httpx.Client(base_url=self.url, timeout=PATIENT, trust_env=False)
        while self.client.get("/health").status_code != 200:
            assert time.monotonic() < give_up, self.log.read_text()
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()

    def stop(self, stop: signal.Signals = signal.SIGTERM) -> int:
        """The exit status."""
        self.process.send_signal(stop)
        return self.process.wait(timeout=START_S)
