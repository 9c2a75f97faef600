"""HTTP to a running SGLang server: what it says of itself, and streamed requests with times."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sagesched.replay.server_info import CalibrationError, ServerInfo, read_server_info

TIMEOUT_S = 300.0
IDLE_WAIT_S = 5.0


@dataclass(frozen=True)
class Event:
    """One streamed event.

    Attributes:
        at_s: when the client had it, seconds of ``time.perf_counter``.
        index: which request of the batch.
        tokens: output tokens of that request so far.
        cached: prompt tokens that the radix cache had.
        finished: whether it was its last.
    """

    at_s: float
    index: int
    tokens: int
    cached: int
    finished: bool


class Server:
    """One server.

    Args:
        url: such as ``http://127.0.0.1:30000``.
        body: fields that every request carries beside its own; ``sampling_params`` is merged.
        api_key: sent as a bearer token unless empty.

    Raises:
        CalibrationError: the URL is none.
    """

    def __init__(self, url: str, body: Mapping[str, Any] | None = None, api_key: str = "") -> None:
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # a port or an address that is none
            good = False
        if not good:
            raise CalibrationError(
                f"{url!r} is no server address; expected one such as http://127.0.0.1:30000"
            )
        if not (api_key.isascii() and api_key.isprintable()):
            raise CalibrationError("the API key has characters that no HTTP header may have")
        self.url = url
        self._parts = parts
        self._body = dict(body or {})
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    def info(self) -> ServerInfo:
        """The server's settings.

        Raises:
            CalibrationError: it does not answer, or not as SGLang does.
        """
        status, text = self._call("GET", "/server_info")
        if status == 404:  # releases before 0.5.6
            status, text = self._call("GET", "/get_server_info")
        if status == 401:
            raise CalibrationError(f"{self.url} wants an API key; give it with --api-key")
        try:
            values = json.loads(text)
            return read_server_info(values)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise CalibrationError(
                f"{self.url} does not answer like an SGLang server: GET /server_info gave status "
                f"{status} and {text[:80]!r} ({type(error).__name__}: {error}). Is the address "
                "that of the server itself, not of a gateway?"
            ) from error

    def flush(self) -> None:
        """Empty the radix cache.

        Raises:
            CalibrationError: the server refuses, since requests are running that are not ours.
        """
        deadline = time.monotonic() + IDLE_WAIT_S
        while True:
            status, text = self._call("POST", "/flush_cache")
            if status == 200:
                return
            if status in (401, 403):
                raise CalibrationError(f"{self.url}/flush_cache is protected; use --api-key")
            if time.monotonic() > deadline:
                raise CalibrationError(
                    f"{self.url} is busy: it does not flush its cache ({text.strip()[:120]}). "
                    "Calibrate on a server without other traffic."
                )
            time.sleep(0.1)

    def prefilled_tokens(self) -> int | None:
        """Prompt tokens the server has computed since its start; None if it does not tell."""
        status, text = self._call("GET", "/v1/loads?include=core")
        if status != 200:
            return None
        loads = json.loads(text).get("loads") or [{}]
        value = loads[0].get("total_prefill_uncached_tokens")
        return None if value is None else int(value)

    def generate(
        self, prompts: Sequence[Sequence[int]], tokens: int, stream_interval: int = 1
    ) -> Stream:
        """Send requests of exactly ``tokens`` output tokens each, as one HTTP request."""
        given = dict(self._body)
        sampling = {
            "max_new_tokens": tokens,
            "ignore_eos": True,
            "temperature": 1.0,
            "stream_interval": stream_interval,
            **given.pop("sampling_params", {}),
        }
        body = {
            "input_ids": [list(prompt) for prompt in prompts],
            "sampling_params": sampling,
            "stream": True,
            **given,
        }
        return Stream(self._connect(), json.dumps(body).encode(), self._path("/generate"), self)

    def failure(self, error: Exception) -> CalibrationError:
        """What to say when the connection broke."""
        return CalibrationError(f"{self.url} does not answer ({type(error).__name__}: {error})")

    def headers(self) -> dict[str, str]:
        """Headers of every call."""
        return dict(self._headers)

    def _path(self, path: str) -> str:
        return self._parts.path.rstrip("/") + path

    def _connect(self) -> http.client.HTTPConnection:
        host, port = str(self._parts.hostname), self._parts.port
        if self._parts.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)

    def _call(self, method: str, path: str) -> tuple[int, str]:
        connection = self._connect()
        try:
            connection.request(method, self._path(path), headers=self._headers)
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise self.failure(error) from error
        finally:
            connection.close()


class Stream:
    """The events of a request that is under way; iterate to wait for them.

    Attributes:
        sent_s: when the request was sent, seconds of ``time.perf_counter``.
    """

    def __init__(
        self, connection: http.client.HTTPConnection, body: bytes, path: str, server: Server
    ) -> None:
        self._connection = connection
        self._server = server
        try:
            connection.connect()
            self.sent_s = time.perf_counter()
            connection.request("POST", path, body, server.headers())
        except OSError as error:
            raise server.failure(error) from error

    def events(self) -> list[Event]:
        """All events, once the stream has ended."""
        return list(self)

    def __iter__(self) -> Any:
        try:
            response = self._connection.getresponse()
            if response.status != 200:
                text = response.read().decode(errors="replace")
                raise CalibrationError(f"{self._server.url} refused a probe: {text[:300]}")
            for line in response:
                now = time.perf_counter()
                if line.startswith(b"data:") and b"[DONE]" not in line:
                    yield _event(now, json.loads(line[5:]))
        except (OSError, http.client.HTTPException) as error:
            raise self._server.failure(error) from error
        finally:
            self._connection.close()


def _event(now: float, values: Mapping[str, Any]) -> Event:
    if "error" in values:
        raise CalibrationError(f"the server failed a probe: {str(values['error'])[:300]}")
    meta = values["meta_info"]
    reason = meta.get("finish_reason")
    if reason and reason.get("type") == "abort":
        raise CalibrationError(f"the server aborted a probe: {str(reason)[:300]}")
    return Event(
        now,
        int(values.get("index", 0)),
        int(meta["completion_tokens"]),
        int(meta.get("cached_tokens") or 0),
        reason is not None,
    )
