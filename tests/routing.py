"""Shared by the tests of the router: the application behind a real socket in this process."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import uvicorn

from sagesched.gateway.app import create_app
from sagesched.gateway.config import RouteConfig

PATIENT = 30.0


class Router:
    """The router in a thread of its own, as a context manager."""

    def __init__(self, *replicas: str, **config: Any) -> None:
        defaults = {"poll_s": 0.02, "connect_timeout_s": 1.0}
        self.config = RouteConfig(replicas, **{**defaults, **config})
        app = create_app(self.config)
        self._server = uvicorn.Server(
            uvicorn.Config(app, port=0, log_config=None, access_log=False, ws="none")
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> Router:
        self._thread.start()
        wait_until(lambda: self._server.started or not self._thread.is_alive())
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=PATIENT, trust_env=False)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()

    def generate(self, text: str = "hello", tokens: int = 4, **more: Any) -> httpx.Response:
        """Not streamed."""
        return self.client.post("/generate", json=generate_body(text, tokens), **more)

    def replicas(self) -> list[dict[str, Any]]:
        """What the router knows of each."""
        found: list[dict[str, Any]] = self.client.get("/replicas").json()
        return found

    def metric(self, name: str, **labels: str) -> float:
        """A value of its page for Prometheus; 0 where there is none."""
        inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
        wanted = f"sagesched_route_{name}" + (f"{{{inside}}}" if inside else "")
        page = self.client.get("/metrics").text
        found = re.search(rf"^{re.escape(wanted)} (\S+)$", page, re.M)
        return float(found[1]) if found else 0.0


def generate_body(text: str = "hello", tokens: int = 4, **more: Any) -> dict[str, Any]:
    """For ``/generate``."""
    return {"text": text, "sampling_params": {"max_new_tokens": tokens}, **more}


def wait_until(holds: Callable[[], object], patience_s: float = PATIENT) -> None:
    """Until it does."""
    give_up = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.005)


@contextlib.contextmanager
def in_thread(call: Callable[[], Any]) -> Iterator[list[Any]]:
    """Runs beside the block; what it returned, or raised, is in the list after it."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(call())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield results
    finally:
        thread.join(PATIENT)
        assert not thread.is_alive()
