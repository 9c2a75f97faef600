"""`sagesched predictor serve`: the real process, over real HTTP."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from sagesched import cli

from .predictor_service import CONTRACT, START_S, Process

TOKEN = "correct horse battery staple"
VARIABLE = "SAGESCHED_PREDICTOR_TOKEN"
SECRET = "my password is swordfish"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def learn(service: Process, n: int, **more: object) -> None:
    outcomes = [{"prompt": f"say hi {at}", "output_tokens": 7, **more} for at in range(n)]
    assert service.client.post("/ingest", json=outcomes).json() == {"accepted": n}
    give_up = time.monotonic() + START_S
    while service.client.get("/models").json()["records"] < n:
        assert time.monotonic() < give_up
        time.sleep(0.01)


def until_nobody_listens(host: str, port: int) -> None:
    give_up = time.monotonic() + START_S
    with contextlib.suppress(OSError):
        while True:
            socket.create_connection((host, port)).close()
            assert time.monotonic() < give_up
            time.sleep(0.02)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal(log: Path, stop: signal.Signals) -> None:
    with Process(log=log) as service:
        learn(service, 60)
        body = {"prompt": f"say hi {SECRET}", "model": ""}
        found = service.client.post("/predict", json=body).json()
        assert set(found) == CONTRACT
        assert found["size_bucket"] == "short"
        assert service.client.get(f"/nothing?prompt={SECRET}").status_code == 404
        assert service.client.get("/metrics").status_code == 200
        assert service.stop(stop) == 0
        written = log.read_text()
    assert written.splitlines() == [
        f"sagesched predictor: listening on {service.url}",
        "sagesched predictor: stopped",
    ]


def test_a_request_in_progress_is_answered_before_the_end(log: Path) -> None:
    with Process(log=log) as service:
        host, port = service.url.removeprefix("http://").split(":")
        body = b'{"prompt": "hello"}'
        head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        head += b"expect: 100-continue\r\n"
        with socket.create_connection((host, int(port))) as client, client.makefile("rb") as said:
            client.sendall(head + b"content-length: %d\r\n\r\n" % len(body))
            assert b"100 Continue" in said.readline()  # the request is in progress
            assert said.readline().strip() == b""
            service.process.send_signal(signal.SIGTERM)
            until_nobody_listens(host, int(port))
            client.sendall(body)
            assert b"200 OK" in said.readline()
        assert service.process.wait(START_S) == 0


def test_a_huge_body_is_refused_while_it_comes(log: Path) -> None:
    def endless() -> object:
        while True:
            yield b"a" * 65536

    with Process(log=log) as service:
        headers = {"content-type": "application/json"}
        try:
            status = service.client.post("/predict", content=endless(), headers=headers).status_code  # type: ignore[arg-type]
        except httpx.WriteError:  # the connection was closed on us
            status = 413
        assert status == 413
        assert service.client.get("/health").status_code == 200
        assert 'status="413"' in service.client.get("/metrics").text


def test_beyond_this_machine_it_wants_a_token(log: Path) -> None:
    with Process("--host", "0.0.0.0", log=log, env={VARIABLE: TOKEN}) as service:
        url = service.url.replace("0.0.0.0", "127.0.0.1")
        with httpx.Client(base_url=url, trust_env=False) as client:
            assert client.get("/health").status_code == 200
            assert client.get("/models").status_code == 401
            client.headers["authorization"] = f"Bearer {TOKEN}"
            assert client.get("/models").status_code == 200
        assert service.stop() == 0
    assert TOKEN not in log.read_text()


def test_the_history_file_outlives_the_process(log: Path, tmp_path: Path) -> None:
    file = tmp_path / "history.sqlite"
    with Process("--history-file", str(file), log=log) as service:
        learn(service, 50, model="m")
        assert service.stop() == 0
    with Process("--history-file", str(file), log=log) as service:
        assert service.client.get("/models").json()["models"] == [{"model": "m", "records": 50}]
        found = service.client.post("/predict", json={"prompt": "say hi 99", "model": "m"}).json()
        assert found["size_bucket"] == "short"


def test_many_clients_at_once(log: Path) -> None:
    with Process(log=log) as service:
        statuses: list[int] = []

        def ask(name: int) -> None:
            with httpx.Client(base_url=service.url, trust_env=False, timeout=60) as client:
                for n in range(20):
                    answer = client.post("/predict", json={"prompt": f"question {n} of {name}"})
                    outcome = {"key": answer.json()["key"], "output_tokens": n}
                    ingested = client.post("/ingest", json=outcome)
                    statuses.extend((answer.status_code, ingested.status_code))

        threads = [threading.Thread(target=ask, args=(name,)) for name in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [200] * (16 * 20 * 2)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--host", "0.0.0.0"], VARIABLE),
        (["--token", ""], "ASCII"),
        (["--port", "70000"], "--port"),
        (["--history", "0"], "--history"),
        (["--context-length", "0"], "--context-length"),
        (["--deadline-ms", "nan"], "--deadline-ms"),
        (["--deadline-ms", "0"], "--deadline-ms"),
        (["--embedder", "nonsense"], "choose one of"),
        (["--embedder", "model"], "model:FOLDER"),
        (["--history-file", "/"], "--history-file"),
        (["--host", "192.0.2.1", "--token", "x", "--port", "0"], "cannot listen on 192.0.2.1"),
    ],
)
def test_what_it_refuses_to_start_with(
    arguments: list[str],
    reason: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert cli.main(["predictor", "serve", *arguments]) == 1
    assert reason in capsys.readouterr().err


def test_a_port_in_use_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert cli.main(["predictor", "serve", "--port", port]) == 1
    assert f"port {port}" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        "from sagesched import cli; sys.exit(cli.main(['predictor', 'serve', '--port', '0']))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "pip install 'sagesched[serve]'" in run.stderr


def test_the_command_line_imports_no_server() -> None:
    code = (
        "import sys; from sagesched import cli; cli.build_parser();"
        "print([m for m in ('fastapi', 'uvicorn', 'pydantic', 'prometheus_client', 'torch')"
        " if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
