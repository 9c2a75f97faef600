"""What the router is told at its start."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from sagesched.balance.request_body import BYTES_PER_TOKEN

MOST_REPLICAS = 1024
MOST = 2.0**50
"""Of any number here; seconds, bytes and requests alike."""
LEAST_POLL_S = 0.001
BYTES_PER_TOKEN_RANGE = (0.1, 1000.0)

_ABOVE_0 = {
    "poll_s": "--poll-ms",
    "poll_timeout_s": "poll_timeout_s",
    "inform_timeout_s": "inform_timeout_s",
    "failures": "failures",
    "connect_timeout_s": "connect_timeout_s",
    "stall_s": "--stall-s",
    "max_inflight": "--max-inflight",
    "queue_timeout_s": "--queue-timeout-s",
    "max_body_bytes": "--max-body-mib",
    "body_timeout_s": "--body-timeout-s",
    "bytes_per_token": "--bytes-per-token",
    "predictor_deadline_s": "--predictor-deadline-ms",
}
"""Attributes and what an operator knows them by."""


@dataclass(frozen=True)
class RouteConfig:
    """Times in seconds.

    Attributes:
        replicas: base addresses of SGLang servers; their order is the index. A slash at the end is
            dropped.
        gateway: SGLang's own gateway in front of them, which then gets all requests; None: none.
        balance: name of the chooser.
        poll_s: between two looks at a replica's load.
        poll_timeout_s: a look that takes longer has failed.
        inform_timeout_s: an information route waits so long for a replica, then asks the next one.
        failures: looks that fail in a row until a replica gets no more requests.
        stall_s: a replica with requests whose load stands still so long gets no more either.
        max_inflight: requests at the replicas; further ones wait here.
        max_queue: requests that wait here; further ones are answered 503.
        queue_timeout_s: longest wait here.
        max_body_bytes: of a request.
        body_timeout_s: a body that takes longer to come is answered 408.
        predictor: base address of `sagesched predictor serve`; None: prompt-only.
        predictor_deadline_s: longest wait for it.
        learn: tell it how long the outputs were.
        api_key: for the replicas' loads and the gateway's list, where they ask for one.
        predictor_token: for the predictor.

    Raises:
        ValueError: a value is wrong; the message names the flag, and shows no key or password.
    """

    replicas: tuple[str, ...]
    gateway: str | None = None
    balance: str = "sal"
    seed: int = 0
    poll_s: float = 0.2
    poll_timeout_s: float = 2.0
    inform_timeout_s: float = 5.0
    failures: int = 3
    connect_timeout_s: float = 2.0
    stall_s: float = 30.0
    max_inflight: int = 2048
    max_queue: int = 2048
    queue_timeout_s: float = 30.0
    max_body_bytes: float = 32 * 2**20
    body_timeout_s: float = 60.0
    bytes_per_token: float = BYTES_PER_TOKEN
    predictor: str | None = None
    predictor_deadline_s: float = 0.05
    learn: bool = True
    api_key: str | None = field(default=None, repr=False)
    predictor_token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        whole = tuple(url.rstrip("/") for url in self.replicas)
        object.__setattr__(self, "replicas", whole)  # as if it had been given so
        _require(0 < len(whole) <= MOST_REPLICAS, "--replica: name at least one server")
        _require(len(set(whole)) == len(whole), "--replica: one is named twice")
        for url in whole:
            _require_base("--replica", url)
        for flag, one in (("--gateway", self.gateway), ("--predictor", self.predictor)):
            if one is not None:
                _require_base(flag, one)
        _require_secret("SAGESCHED_UPSTREAM_API_KEY", self.api_key)
        _require_secret("SAGESCHED_PREDICTOR_TOKEN", self.predictor_token)
        for name, flag in _ABOVE_0.items():
            value = getattr(self, name)
            _require(0 < value <= MOST, f"{flag}: expected a number above 0, got {value}")
        _require(self.poll_s >= LEAST_POLL_S, "--poll-ms: expected at least 1")
        least, most = BYTES_PER_TOKEN_RANGE
        _require(
            least <= self.bytes_per_token <= most,
            f"--bytes-per-token: expected {least:g} to {most:g}, got {self.bytes_per_token}",
        )
        _require(0 <= self.max_queue <= MOST, "--max-queue: expected at least 0")
        _require(
            self.predictor is not None or self.balance.partition(":")[0] != "shortest_predicted",
            "--balance shortest_predicted needs --predictor URL",
        )


def _require_base(flag: str, url: str) -> None:
    shown = "(not shown: it has an @)" if "@" in url else url  # there may be a password before it
    _require(_is_base(url), f"{flag} {shown}: expected http://HOST:PORT")


def _require_secret(variable: str, value: str | None) -> None:
    """A header's value: what HTTP does not allow there would fail with each request."""
    whole = value or ""
    allowed = whole.isascii() and whole.isprintable() and whole == whole.strip()
    _require(allowed, f"{variable}: expected printable ASCII characters (its value is not shown)")


def _is_base(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port != 0
    except ValueError:
        return False
    whole = not (parts.query or parts.fragment or "@" in parts.netloc)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port_is_valid and whole


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
