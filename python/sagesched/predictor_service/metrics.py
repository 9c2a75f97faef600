"""The service's page for Prometheus, in a registry of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sagesched.predict import ServiceStats
from sagesched.predictor_service.schema import FallbackLevel

PATHS = frozenset({"/predict", "/ingest", "/models", "/health", "/metrics", "/openapi.json"})
SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
PREFIX = "sagesched_predictor"

PREDICTION_RESULTS = ("predictions", "deadline_misses", "not_ready", "overloaded", "errors")

STORED = ("restored", "saved", "shared", "dropped", "failures")


class Metrics:
    """Counters of requests, and what the prediction service counts.

    Args:
        snapshot: of the prediction service.
    """

    def __init__(self, snapshot: Callable[[], ServiceStats]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_ServiceCollector(snapshot))
        self._requests = Counter(
            f"{PREFIX}_requests_total",
            "Requests by path and status; status 0: the client left.",
            ["path", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            f"{PREFIX}_request_seconds",
            "From a request's head to its answer's end.",
            ["path"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._answers = Counter(
            f"{PREFIX}_answers_total",
            "Predictions answered, by the evidence they rest on.",
            ["fallback_level"],
            registry=self._registry,
        )
        for level in FallbackLevel:
            self._answers.labels(level.value)

    def request(self, path: str, status: int, seconds: float) -> None:
        """One request was served; unknown paths count together."""
        path = path if path in PATHS else "other"
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def answered(self, level: FallbackLevel) -> None:
        """One prediction was answered."""
        self._answers.labels(level.value).inc()

    def page(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)


class _ServiceCollector(Collector):
    """What `PredictionService.snapshot` says, read when the page is asked for."""

    def __init__(self, snapshot: Callable[[], ServiceStats]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        stats = self._snapshot()
        predictions = CounterMetricFamily(
            f"{PREFIX}_predictions", "Prompts by what became of their prediction.", None, ["result"]
        )
        for result in PREDICTION_RESULTS:
            predictions.add_metric([result], getattr(stats, result))
        yield predictions
        outcomes = CounterMetricFamily(
            f"{PREFIX}_outcomes", "Outcomes returned to the history.", None, ["kind"]
        )
        outcomes.add_metric(["finished"], stats.recorded - stats.censored)
        outcomes.add_metric(["censored"], stats.censored)
        outcomes.add_metric(["unknown"], stats.unknown)
        yield outcomes
        stored = CounterMetricFamily(
            f"{PREFIX}_history_file", "Records and the history file.", None, ["kind"]
        )
        for kind in STORED:
            stored.add_metric([kind], getattr(stats, f"history_{kind}"))
        yield stored
        for name, meaning, value in (
            ("history_records", "Finished requests in the history.", stats.history_size),
            ("pending", "Prompts and outcomes that wait for the worker.", stats.pending),
            ("keys", "Prompts that wait for their outcome.", stats.remembered_keys),
        ):
            yield GaugeMetricFamily(f"{PREFIX}_{name}", meaning, value)
