"""Counters of the data-parallel controller's process; see ``metrics.py``."""

from __future__ import annotations

from typing import Any

from sagesched.plugin import metrics

_exported: dict[str, Any] = {}


def enable(replicas: int) -> None:
    """Create them in this process; call after SGLang has set up its own."""
    if _exported:
        return
    from prometheus_client import Counter, Gauge

    metrics.enable()
    _exported["sent"] = Counter(
        "sagesched_balance_requests_total",
        "Requests by the replica they were sent to and by who chose it: ours, stock (total_tokens, "
        "after an error of ours), or asked (the request named it).",
        ["replica", "by"],
    )
    _exported["lost"] = Counter(
        "sagesched_balance_failed_total",
        "Requests that were answered with 503 because their replica was gone: some may have ended.",
    )
    _exported["healthy"] = Gauge(
        "sagesched_balance_healthy",
        "1 where a replica gets requests, 0 where it is gone or has stopped reporting.",
        ["replica"],
        multiprocess_mode="livemax",
    )
    for index in range(replicas):
        set_healthy(index, True)
        for by in ("ours", "stock", "asked"):
            _exported["sent"].labels(str(index), by)


@metrics.harmless
def count_sent(index: int, by: str) -> None:
    """One request went to this replica."""
    if _exported:
        _exported["sent"].labels(str(index), by).inc()


@metrics.harmless
def count_lost(requests: int) -> None:
    """As many were answered because their replica was gone."""
    if _exported:
        _exported["lost"].inc(requests)


@metrics.harmless
def set_healthy(index: int, ok: bool) -> None:
    """Whether it gets requests."""
    if _exported:
        _exported["healthy"].labels(str(index)).set(int(ok))
