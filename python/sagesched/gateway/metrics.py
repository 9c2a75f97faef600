"""The router's page for Prometheus, in a registry of its own."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sagesched.gateway.admission import Admission
from sagesched.gateway.expected import Predictor
from sagesched.gateway.fleet import Fleet

PREFIX = "sagesched_route"
SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
CHOOSING = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 1e-2)
RESULTS = (
    "answered", "rejected", "no_replica", "client_left", "broken", "failed", "too_large",
    "too_slow", "bad_url", "no_descriptors",
)  # fmt: skip


class Metrics:
    """Counters of requests, and what the fleet knows."""

    def __init__(self, fleet: Fleet, admission: Admission, predictor: Predictor | None) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_StateCollector(fleet, admission, predictor))
        self._requests = Counter(
            f"{PREFIX}_requests_total",
            "Requests by what became of them; an answer of the replica's, whatever its status, "
            "is `answered`.",
            ["result"],
            registry=self._registry,
        )
        self._sent = Counter(
            f"{PREFIX}_sent_total",
            "Requests sent, by replica.",
            ["replica"],
            registry=self._registry,
        )
        self._retries = Counter(
            f"{PREFIX}_retries_total",
            "Requests sent to another replica after a refused connection.",
            registry=self._registry,
        )
        self._misrouted = Counter(
            f"{PREFIX}_misrouted_total",
            "Requests that the gateway sent to another replica than was asked for.",
            registry=self._registry,
        )
        self._choosing = Histogram(
            f"{PREFIX}_choosing_seconds", "Time of a choice.", buckets=CHOOSING,
            registry=self._registry,
        )  # fmt: skip
        self._head = Histogram(
            f"{PREFIX}_first_byte_seconds",
            "From a request's body to the head of its answer.",
            buckets=SECONDS,
            registry=self._registry,
        )
        for result in RESULTS:
            self._requests.labels(result)
        for replica in fleet.replicas:
            self._sent.labels(str(replica.index))

    def ended(self, result: str) -> None:
        """One of `RESULTS`."""
        self._requests.labels(result).inc()

    def sent(self, index: int, choosing_s: float) -> None:
        """A request is on its way."""
        self._sent.labels(str(index)).inc()
        self._choosing.observe(choosing_s)

    def retried(self) -> None:
        """The last one could not be sent."""
        self._retries.inc()

    def misrouted(self) -> None:
        """See the counter."""
        self._misrouted.inc()

    def first_byte(self, seconds: float) -> None:
        """An answer begins."""
        self._head.observe(seconds)

    def page(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)


class _StateCollector(Collector):
    def __init__(self, fleet: Fleet, admission: Admission, predictor: Predictor | None) -> None:
        self._fleet = fleet
        self._admission = admission
        self._predictor = predictor

    def collect(self) -> Iterator[Metric]:
        gauges = {
            "healthy": "Whether the replica gets requests.",
            "in_flight": "Requests at the replica that came through here.",
            "reported_running": "Running requests, by its own report.",
            "reported_waiting": "Waiting requests, by its own report.",
            "reported_kv_usage": "Share of the KV pool in use, by its own report.",
        }
        families = {
            name: GaugeMetricFamily(f"{PREFIX}_{name}", text, None, ["replica"])
            for name, text in gauges.items()
        }
        for replica in self._fleet.replicas:
            label, load = [str(replica.index)], replica.load
            families["healthy"].add_metric(label, replica.healthy)
            families["in_flight"].add_metric(label, replica.in_flight)
            if load is not None:
                families["reported_running"].add_metric(label, load.running)
                families["reported_waiting"].add_metric(label, load.waiting)
                usage = load.used_tokens / max(1, load.capacity_tokens)
                families["reported_kv_usage"].add_metric(label, usage)
        yield from families.values()
        waiting = self._admission.waiting
        yield GaugeMetricFamily(f"{PREFIX}_queue", "Requests that wait in the router.", waiting)
        if self._predictor is not None:
            predictions = CounterMetricFamily(
                f"{PREFIX}_predictions", "Predictions and outcomes by result.", None, ["result"]
            )
            for result, count in self._predictor.results.items():
                predictions.add_metric([result], count)
            yield predictions
