"""Keys and passwords of the router: neither its log nor `/replicas` nor an error shows one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from sagesched.balance import make_chooser
from sagesched.cli import main
from sagesched.gateway.app import _described
from sagesched.gateway.config import RouteConfig
from sagesched.gateway.fleet import Fleet

from .fake_sglang import FakeSglang
from .test_route_cli import Process

SECRET = "a-very-secret-key"
VARIABLES = ("SAGESCHED_UPSTREAM_API_KEY", "SAGESCHED_PREDICTOR_TOKEN")


def test_a_key_from_a_file_may_end_with_a_line_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGESCHED_UPSTREAM_API_KEY", f" {SECRET}\r\n")
    with FakeSglang("a", api_key=SECRET) as a, Process(a.url, tmp_path / "log") as route:
        assert route.is_healthy()
        assert SECRET not in route.log


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("broken", [f"{SECRET}\n{SECRET}", f"{SECRET}\x7f", f"{SECRET}é"])
def test_a_key_that_is_no_header_is_refused_and_not_shown(
    variable: str,
    broken: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, broken)
    # Of an address that nobody can listen on: the key is what it stops at.
    assert main(["route", "--replica", "http://a:1", "--host", "192.0.2.1"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"sagesched route: {variable}: expected printable ASCII")
    assert len(error.splitlines()) == 1
    assert SECRET not in error


@pytest.mark.parametrize("flag", ["--replica", "--gateway", "--predictor"])
@pytest.mark.parametrize("user", ["", "user"])
def test_an_address_with_a_password_is_refused_and_not_shown(
    flag: str, user: str, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"http://{user}:{SECRET}@h:1"
    arguments = ["--replica", "http://a:1", flag, address, "--host", "192.0.2.1"]
    assert main(["route", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"sagesched route: {flag} (not shown")
    assert SECRET not in error


def test_settings_do_not_show_keys() -> None:
    config = RouteConfig(("http://a:1",), api_key=SECRET, predictor_token=SECRET)
    assert SECRET not in repr(config)


def test_a_header_that_cannot_be_sent_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.LocalProtocolError(f"Illegal header value b'Bearer {SECRET}\\n'")

    async def scenario() -> None:
        config = RouteConfig(("http://a:1",))
        async with httpx.AsyncClient(transport=httpx.MockTransport(refuse)) as client:
            fleet = Fleet(config, make_chooser("sal", 1), client)
            for _ in range(config.failures):
                await fleet.look(fleet.replicas[0])
        assert _described(fleet.replicas[0])["error"] == "LocalProtocolError"

    asyncio.run(scenario())
    assert "gets no requests: LocalProtocolError" in caplog.text
    assert SECRET not in caplog.text
