"""`sagesched route` as a process."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from sagesched.cli import main

from .fake_sglang import FakeSglang
from .routing import PATIENT, generate_body, in_thread, wait_until

COMMAND = (sys.executable, "-m", "sagesched.cli", "route")


@pytest.fixture
def fake() -> Iterator[FakeSglang]:
    with FakeSglang("a") as server:
        yield server


class Process:
    """`sagesched route` in front of one server, as a context manager that ends it.

    Args:
        limits: soft and hard limit of its file descriptors; None: as here.
    """

    def __init__(
        self, replica: str, log: Path, *flags: str, limits: tuple[int, int] | None = None
    ) -> None:
        self._log = log
        command = (*COMMAND, "--replica", replica, "--port", "0", "--poll-ms", "20", *flags)
        if limits:
            command = ("prlimit", f"--nofile={limits[0]}:{limits[1]}", *command)
        with log.open("w") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)

    def __enter__(self) -> Process:
        wait_until(lambda: re.search(r"listening on (\S+)", self.log))
        found = re.search(r"listening on (\S+)", self.log)
        assert found
        self.client = httpx.Client(base_url=found[1], timeout=PATIENT, trust_env=False)
        wait_until(self.is_healthy)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()

    @property
    def log(self) -> str:
        """What it has printed."""
        return self._log.read_text()

    def is_healthy(self) -> bool:
        """Whether it takes requests."""
        try:
            return self.client.get("/health").status_code == 200
        except (httpx.NetworkError, httpx.RemoteProtocolError):  # the latter: just as it closes
            return False


def test_sigterm_lets_what_is_in_progress_end(fake: FakeSglang, tmp_path: Path) -> None:
    with Process(fake.url, tmp_path / "log") as route:
        fake.gate.clear()
        with in_thread(lambda: route.client.post("/generate", json=generate_body())) as answers:
            wait_until(lambda: fake.running == 1)
            route.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not route.is_healthy())
            time.sleep(0.2)
            assert route.process.poll() is None
            fake.gate.set()
        assert answers[0].status_code == 200
        assert route.process.wait(PATIENT) == 0
        assert route.log.rstrip().endswith("sagesched route: stopped")


def test_what_is_not_done_when_the_time_is_up_is_told_so(fake: FakeSglang, tmp_path: Path) -> None:
    fake.token_s = 0.02
    with Process(fake.url, tmp_path / "log", "--drain-s", "1") as route, ExitStack() as stack:
        post = lambda **more: route.client.post(  # noqa: E731
            "/generate", json=generate_body(tokens=100_000, **more)
        )
        whole = stack.enter_context(in_thread(post))
        streamed = stack.enter_context(in_thread(lambda: post(stream=True)))
        wait_until(lambda: fake.running == 2)
        wait_until(lambda: fake.produced > 1)
        route.process.send_signal(signal.SIGTERM)
        assert route.process.wait(PATIENT) == 0
        stack.close()
        assert (whole[0].status_code, whole[0].headers["retry-after"]) == (503, "1")
        assert whole[0].json()["error"]["code"] == "stopped"
        assert streamed[0].status_code == 200
        kind, data = [line for line in streamed[0].text.splitlines() if line][-2:]
        assert kind == "event: error"
        assert json.loads(data.removeprefix("data: "))["error"]["code"] == "stopped"
        wait_until(lambda: fake.aborted == 2)
        assert "Traceback" not in route.log
        assert route.log.count("ERROR") == 1


def test_a_client_that_has_left_does_not_hold_up_the_end(fake: FakeSglang, tmp_path: Path) -> None:
    fake.silent = True
    with Process(fake.url, tmp_path / "log", "--drain-s", "1000") as route:
        with in_thread(lambda: route.client.get("/v1/models", timeout=1.0)) as answers:
            wait_until(lambda: fake.informing == 1)
        assert isinstance(answers[0], httpx.ReadTimeout)
        route.process.send_signal(signal.SIGTERM)
        assert route.process.wait(PATIENT) == 0
        assert "ERROR" not in route.log


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["route", "--help"])
    text = capsys.readouterr().out
    assert "--replica URL" in text
    assert "SAGESCHED_UPSTREAM_API_KEY" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--replica", "localhost:30000"], "localhost:30000: expected http://HOST:PORT"),
        (["--replica", "http://a:1", "--balance", "best"], "unknown chooser 'best'; choose from"),
        (["--replica", "http://a:1", "--balance", "oracle"], "for replay only"),
        (["--replica", "http://a:1", "--replica", "http://a:1/"], "--replica: one is named twice"),
        (["--replica", "http://a:1", "--gateway", "g:1"], "--gateway g:1: expected http://"),
        *(
            (["--replica", "http://a:1", flag, value], f"{flag}: expected a number above 0")
            for flag in (
                "--max-body-mib",
                "--body-timeout-s",
                "--poll-ms",
                "--stall-s",
                "--queue-timeout-s",
                "--bytes-per-token",
                "--predictor-deadline-ms",
            )
            for value in ("inf", "nan", "-5", "0")
        ),
        (["--replica", "http://a:1", "--poll-ms", "1e-9"], "--poll-ms: expected at least 1"),
        *(
            (["--replica", "http://a:1", "--bytes-per-token", value], "expected 0.1 to 1000")
            for value in ("1e-320", "1e9")
        ),
        (
            ["--replica", "http://a:1", "--balance", "shortest_predicted:answers=1"],
            "--balance shortest_predicted needs --predictor URL",
        ),
        (["--replica", "http://a:1", "--max-inflight", "0"], "--max-inflight: expected a number"),
        (["--replica", "http://a:1", "--max-queue", "-1"], "--max-queue: expected at least 0"),
        (["--replica", "http://a:1", "--drain-s", "0"], "--drain-s 0: expected at least 1"),
        (["--replica", "http://a:1", "--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
    ],
)
def test_errors_are_one_clear_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["route", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("sagesched route: ")
    assert message in error
    assert len(error.splitlines()) == 1
