"""Who may ask the predictor service."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sagesched.predictor_service.auth import is_authorized, is_loopback, require_token

from .predictor_service import Application, embedder, make_application

__all__ = ["embedder", "make_application"]

TOKEN = "correct horse battery staple"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    require_token(host, None)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "192.168.1.5", "example.com", "127.0.0.1.example.com"]
)
def test_others_do(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ValueError, match="SAGESCHED_PREDICTOR_TOKEN"):
        require_token(host, None)
    require_token(host, TOKEN)


@pytest.mark.parametrize("token", ["", " ", "a\nb", "ü", " padded "])
def test_a_token_that_no_header_can_have(token: str) -> None:
    with pytest.raises(ValueError, match="ASCII"):
        require_token("127.0.0.1", token)


@pytest.mark.parametrize(
    ("header", "right"),
    [
        (f"Bearer {TOKEN}".encode(), True),
        (f"bearer  {TOKEN}".encode(), True),
        (f"Basic {TOKEN}".encode(), False),
        (f"Bearer {TOKEN}x".encode(), False),
        (f"Bearer {TOKEN[:-1]}".encode(), False),
        (TOKEN.encode(), False),
        (b"Bearer", False),
        (b"Bearer \xff\xfe", False),
        (b"", False),
        (None, False),
    ],
)
def test_headers(header: bytes | None, right: bool) -> None:
    assert is_authorized(header, TOKEN) is right
    assert is_authorized(header, None)


def test_only_health_is_open(make_application: Callable[..., Application]) -> None:
    application = make_application(token=TOKEN).wait()
    assert application.get("/health").status_code == 200
    right = {"authorization": f"Bearer {TOKEN}"}
    for method, path, status in (
        ("POST", "/predict", 422),
        ("POST", "/ingest", 422),
        ("GET", "/models", 200),
        ("GET", "/metrics", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/nothing", 404),
    ):
        for headers in ({}, {"authorization": "Bearer wrong"}):
            answer = application.request(method, path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "Authorization" in answer.json()["detail"]
        assert application.request(method, path, headers=right).status_code == status
