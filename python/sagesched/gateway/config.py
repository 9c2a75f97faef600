"""What the router is told at its start."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from sagesched.balance.request_body import BYTES_PER_TOKEN

MOST_REPLICAS = 1024


@dataclass(frozen=True)
class RouteConfig:
    """Times in seconds.

    Attributes:
        replicas: base addresses of SGLang servers; their order is the index.
        gateway: SGLang's own gateway in front of them, which then gets all requests; None: none.
        balance: name of the chooser.
        poll_s: between two looks at a replica's load.
        poll_timeout_s: a look that takes longer has failed.
        failures: looks that fail in a row until a replica gets no more requests.
        stall_s: a replica with requests whose load stands still so long gets no more either.
        max_inflight: requests at the replicas; further ones wait here.
        max_queue: requests that wait here; further ones are answered 503.
        queue_timeout_s: longest wait here.
        max_body_bytes: of a request.
        predictor: base address of `sagesched predictor serve`; None: prompt-only.
        predictor_deadline_s: longest wait for it.
        learn: tell it how long the outputs were.
        api_key: for the replicas' loads and the gateway's list, where they ask for one.
        predictor_token: for the predictor.
    """

    replicas: tuple[str, ...]
    gateway: str | None = None
    balance: str = "sal"
    seed: int = 0
    poll_s: float = 0.2
    poll_timeout_s: float = 2.0
    failures: int = 3
    connect_timeout_s: float = 2.0
    stall_s: float = 30.0
    max_inflight: int = 2048
    max_queue: int = 2048
    queue_timeout_s: float = 30.0
    max_body_bytes: int = 32 * 2**20
    bytes_per_token: float = BYTES_PER_TOKEN
    predictor: str | None = None
    predictor_deadline_s: float = 0.05
    learn: bool = True
    api_key: str | None = None
    predictor_token: str | None = None

    def __post_init__(self) -> None:
        _require(0 < len(self.replicas) <= MOST_REPLICAS, "--replica: name at least one server")
        _require(len(set(self.replicas)) == len(self.replicas), "--replica: one is named twice")
        for url in (*self.replicas, self.gateway, self.predictor):
            _require(url is None or _is_base(url), f"{url}: expected http://HOST:PORT")
        for name in ("poll_s", "poll_timeout_s", "connect_timeout_s", "stall_s", "failures"):
            _require(getattr(self, name) > 0, f"{name}: expected more than 0")
        for name in ("queue_timeout_s", "predictor_deadline_s", "bytes_per_token", "max_inflight"):
            _require(getattr(self, name) > 0, f"{name}: expected more than 0")
        _require(self.max_queue >= 0, "--max-queue: expected at least 0")
        _require(
            self.predictor is not None or self.balance != "shortest_predicted",
            "--balance shortest_predicted needs --predictor URL",
        )


def _is_base(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port != 0
    except ValueError:
        return False
    whole = not (parts.query or parts.fragment or parts.username)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port_is_valid and whole


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
