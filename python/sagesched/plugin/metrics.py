"""Our counters on SGLang's ``/metrics``.

SGLang runs prometheus_client in multi-process mode and sets its directory before the worker
processes start; metrics made in any process then join the same page. Without
``--enable-metrics`` nothing is exported and the calls cost one attribute test.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec

if TYPE_CHECKING:
    from sagesched.plugin.calibration import Calibration
    from sagesched.predict import PredictionService

P = ParamSpec("P")
EXPORT_DELAY_S = 0.25
LABELS = {
    "fallbacks": (
        "abort",
        "balance",
        "balance-abort",
        "balance-again",
        "balance-books",
        "balance-check",
        "balance-prediction",
        "balance-report",
        "balance-reports",
        "bootstrap",
        "clock",
        "describe",
        "enter",
        "follow",
        "foretold",
        "malformed_prediction",
        "malformed_wishes",
        "memory",
        "outcome",
        "park",
        "predict",
        "rank",
        "restart",
        "retracted",
        "retraction",
        "role",
        "settle",
        "shadow",
        "switch",
        "watch",
    ),
    "ranked": ("predicted", "prior"),
    "retracted": ("memory",),
    "passes": ("arrival", "changed", "would_change"),
    "admissions": ("ahead", "in_turn"),
    "slowdown": ("sum", "requests"),
    "shadow_requests": ("fcfs", "gittins"),
    "shadow_wait_steps": ("fcfs", "gittins"),
    "shadow_slowdown": ("fcfs", "gittins"),
    "hook_seconds": ("scheduler",),
    "hook_steps": ("scheduler",),
    "deciles": tuple(str(decile) for decile in range(1, 11)),
    "tokens": ("predicted", "real"),
    "predictions": ("predictions", "deadline_misses", "not_ready", "overloaded", "errors"),
    "outcomes": ("finished", "censored", "unknown"),
    "file": ("restored", "saved", "shared", "dropped"),
    "file_failures": ("any",),
}
"""Of each counter; all are on the page at 0 from the start, so that a first event is an increase.
Which tenants there are is not known before."""

_exported: dict[str, Any] = {}
_seen: dict[tuple[str, str], float] = {}
_pending: dict[str, asyncio.TimerHandle] = {}


def enable() -> None:
    """Create the metrics in this process; call after SGLang has set up its own."""
    if _exported:
        return
    from prometheus_client import Counter, Gauge

    _exported["fallbacks"] = Counter(
        "sagesched_fallbacks_total",
        "Requests or steps served in stock order because something of ours failed.",
        ["cause"],
    )
    _exported["slots"] = Gauge(
        "sagesched_rank_engine_slots",
        "Requests held in the rank engine: those that wait, and no others.",
        multiprocess_mode="livesum",
    )
    _exported["ranked"] = Counter(
        "sagesched_ranked_requests_total", "Requests that entered the rank engine.", ["source"]
    )
    _exported["opted_out"] = Counter(
        "sagesched_opted_out_requests_total",
        "Requests that came with the wish not to be reordered.",
    )
    _exported["parked"] = Counter(
        "sagesched_parked_requests_total",
        "Running requests that gave way, their KV kept in the radix tree.",
    )
    _exported["retracted"] = Counter(
        "sagesched_retracted_requests_total",
        "Running requests that came back to the queue because KV memory ran out.",
        ["kind"],
    )
    _exported["passes"] = Counter(
        "sagesched_passes_total",
        "Times the queue was ordered, by whether the oldest request came first.",
        ["first"],
    )
    _exported["admissions"] = Counter(
        "sagesched_admissions_total",
        "Requests that left the queue to run, by whether an older one had to go on waiting.",
        ["turn"],
    )
    _exported["slowdown"] = Counter(
        "sagesched_slowdown_total",
        "Waited steps over predicted output tokens, summed over requests; and these requests.",
        ["of"],
    )
    for what in ("slowdown", "requests"):
        _exported[f"tenant_{what}"] = Counter(
            f"sagesched_tenant_{what}_total", f"Of each tenant: {what}.", ["tenant"]
        )
    for what in ("requests", "wait_steps", "slowdown"):
        _exported[f"shadow_{what}"] = Counter(
            f"sagesched_shadow_{what}_total",
            f"While looking on, in a model of the engine under either order: {what}.",
            ["order"],
        )
    _exported["hook_seconds"] = Counter(
        "sagesched_hook_seconds_total", "Time in our hooks in the scheduler.", ["where"]
    )
    _exported["hook_steps"] = Counter(
        "sagesched_hook_steps_total", "Engine steps in which that time was taken.", ["where"]
    )
    for name, meaning in (
        ("oldest_waiting_steps", "Engine steps for which the oldest request has been waiting."),
        ("dial", "How far the index may move a request."),
        ("in_force", "1 where the order is applied, 0 where it only looks on."),
    ):
        _exported[name] = Gauge(f"sagesched_{name}", meaning, multiprocess_mode="livemax")
    _exported["deciles"] = Counter(
        "sagesched_predicted_deciles_total",
        "Requests by the tenth of their predicted distribution in which the real length fell.",
        ["decile"],
    )
    _exported["tokens"] = Counter(
        "sagesched_output_tokens_total",
        "Output tokens of the same requests, as predicted (mean) and as they were.",
        ["kind"],
    )
    _exported["predictions"] = Counter(
        "sagesched_predictions_total", "Prompts by what became of their prediction.", ["result"]
    )
    _exported["outcomes"] = Counter(
        "sagesched_outcomes_total", "Outcomes returned to the history.", ["kind"]
    )
    _exported["history"] = Gauge(
        "sagesched_history_records",
        "Finished requests that predictions are made from.",
        multiprocess_mode="livemax",  # tokenizer workers share one history
    )
    _exported["file"] = Counter(
        "sagesched_history_file_records_total",
        "Outcomes by what became of them between this server and its history file.",
        ["event"],
    )
    _exported["file_failures"] = Counter(
        "sagesched_history_file_failures_total",
        "Failed attempts to use the history file.",
        ["kind"],
    )
    for metric, labels in LABELS.items():
        for label in labels:
            _exported[metric].labels(label)


def harmless(function: Callable[P, None]) -> Callable[P, None]:
    """A metric that cannot be written (a full disk) must not touch serving or the order."""

    @functools.wraps(function)
    def quiet(*args: P.args, **kwargs: P.kwargs) -> None:
        with contextlib.suppress(Exception):
            function(*args, **kwargs)

    return quiet


@harmless
def count_fallback(cause: str) -> None:
    """One request or step fell back to the stock order."""
    if _exported:
        _exported["fallbacks"].labels(cause).inc()


@harmless
def count_opted_out() -> None:
    """One request entered that is not to be reordered."""
    if _exported:
        _exported["opted_out"].inc()


@harmless
def count_parked(requests: int) -> None:
    """As many running requests gave way."""
    if _exported:
        _exported["parked"].inc(requests)


@harmless
def set_slots(slots: int) -> None:
    """How many requests the rank engine holds now."""
    if _exported:
        _exported["slots"].set(slots)


@harmless
def export_watch(
    counts: Mapping[tuple[str, str], float],
    slots: int,
    oldest_steps: int,
    dial: float,
    in_force: bool,
) -> None:
    """Bring a scheduler's counters up to date."""
    if not _exported:
        return
    for (metric, label), total in counts.items():
        _advance(metric, label, total)
    _exported["slots"].set(slots)
    _exported["oldest_waiting_steps"].set(oldest_steps)
    _exported["dial"].set(dial)
    _exported["in_force"].set(int(in_force))


@harmless
def export_ranked(counts: Mapping[tuple[str, str], float]) -> None:
    """Bring those of ranked requests alone up to date."""
    if _exported:
        for source in LABELS["ranked"]:
            _advance("ranked", source, counts.get(("ranked", source), 0.0))


@harmless
def export_calibration(calibration: Calibration) -> None:
    """Bring the counters of predicted against real lengths up to date."""
    if not _exported:
        return
    for decile, total in enumerate(calibration.deciles, 1):
        _advance("deciles", str(decile), total)
    _advance("tokens", "predicted", calibration.predicted)
    _advance("tokens", "real", calibration.real)


@harmless
def export_soon(service: PredictionService, calibration: Calibration) -> None:
    """Bring the exported counters of the prediction service up to date, in a moment.

    Once per ``EXPORT_DELAY_S`` at most, and late enough for the worker to have learned what it
    was just told. Call it on the event loop.
    """
    if _exported and "export" not in _pending:
        loop = asyncio.get_running_loop()
        _pending["export"] = loop.call_later(EXPORT_DELAY_S, _export, service, calibration)


@harmless
def export_now(service: PredictionService, calibration: Calibration) -> None:
    """The same at once, where no event loop runs."""
    if _exported:
        _export(service, calibration)


@harmless
def _export(service: PredictionService, calibration: Calibration) -> None:
    _pending.clear()
    export_calibration(calibration)
    stats = service.snapshot()
    if stats.busy or (stats.history_waiting and not stats.history_failure):
        export_soon(service, calibration)
    _exported["history"].set(stats.history_size)
    for result in LABELS["predictions"]:
        _advance("predictions", result, getattr(stats, result))
    _advance("outcomes", "finished", stats.recorded - stats.censored)
    _advance("outcomes", "censored", stats.censored)
    _advance("outcomes", "unknown", stats.unknown)
    for event in LABELS["file"]:
        _advance("file", event, getattr(stats, f"history_{event}"))
    _advance("file_failures", "any", stats.history_failures)


def _advance(metric: str, label: str, total: float) -> None:
    """Raise a labelled counter to a total that is counted elsewhere."""
    step = total - _seen.get((metric, label), 0)
    if step > 0:
        _seen[metric, label] = total
        _exported[metric].labels(label).inc(step)
