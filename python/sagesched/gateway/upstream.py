"""HTTP to a replica: headers that pass, and the answer as it comes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import httpx

from sagesched.gateway.config import RouteConfig

KEEP_ALIVE_S = 2.0
"""SGLang closes idle connections after 5 s; a request must not meet one that is being closed."""

_HOP_BY_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
        b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
_OURS = frozenset({b"host", b"content-length", b"expect", b"x-smg-target-worker"})

BAD_URL = "the URL is longer than 64 KiB or has a control character"
"""What `httpx.InvalidURL` means for a client."""

Headers = list[tuple[bytes, bytes]]


def make_client(config: RouteConfig) -> httpx.AsyncClient:
    """No bound on connections: `Admission` is the bound. No proxy from the environment."""
    client = httpx.AsyncClient(
        limits=httpx.Limits(max_connections=None, keepalive_expiry=KEEP_ALIVE_S),
        timeout=httpx.Timeout(None, connect=config.connect_timeout_s),
        trust_env=False,
    )
    client.headers = httpx.Headers()  # a request has its client's headers and no others
    return client


@contextlib.asynccontextmanager
async def send(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    headers: Headers,
    body: bytes,
) -> AsyncIterator[httpx.Response]:
    """The answer's head; its body is not read yet, and its connection is closed at the end.

    Raises:
        httpx.ConnectError, httpx.ConnectTimeout: not a byte was sent.
        httpx.HTTPError: anything else.
        httpx.InvalidURL: see `BAD_URL`; nothing was sent.
    """
    request = client.build_request(method, url, headers=headers, content=body)
    answer = await client.send(request, stream=True)
    try:
        yield answer
    finally:
        await answer.aclose()


def passed_on(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """What of a request's or an answer's headers is meant for the other end."""
    pairs = [(name.lower(), value) for name, value in headers]
    named = [value for name, value in pairs if name == b"connection"]
    listed = {part.strip().lower() for value in named for part in value.split(b",")}
    stopped = _HOP_BY_HOP | listed
    return [(name, value) for name, value in pairs if name not in stopped]


def path_of(scope: Mapping[str, Any]) -> str:
    """Of a client's request, with its query."""
    query = scope["query_string"].decode("latin-1")
    return str(scope["path"]) + (f"?{query}" if query else "")


def request_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Of a client's request, keys and tokens included."""
    return [(name, value) for name, value in passed_on(headers) if name not in _OURS]
