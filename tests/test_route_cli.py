"""`sagesched route` as a process."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
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


def test_sigterm_lets_what_is_in_progress_end(fake: FakeSglang, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as file:
        command = (*COMMAND, "--replica", fake.url, "--port", "0", "--poll-ms", "20")
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: re.search(r"listening on (\S+)", log.read_text()))
        found = re.search(r"listening on (\S+)", log.read_text())
        assert found
        url = found[1]
        client = httpx.Client(base_url=url, timeout=PATIENT, trust_env=False)

        def health() -> bool:
            try:
                return client.get("/health").status_code == 200
            except httpx.ConnectError:
                return False

        wait_until(health)
        fake.gate.clear()
        with in_thread(lambda: client.post("/generate", json=generate_body())) as answers:
            wait_until(lambda: fake.running == 1)
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: not health())
            time.sleep(0.2)
            assert process.poll() is None
            fake.gate.set()
        assert answers[0].status_code == 200
        assert process.wait(PATIENT) == 0
        client.close()
    finally:
        process.kill()
        process.wait()
    assert log.read_text().rstrip().endswith("sagesched route: stopped")


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
                "--poll-ms",
                "--stall-s",
                "--queue-timeout-s",
                "--bytes-per-token",
                "--predictor-deadline-ms",
            )
            for value in ("inf", "nan", "-5", "0")
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
