"""What is on SGLang's ``/metrics`` before anything has happened, and what is counted there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sagesched.plugin import fallback, metrics
from sagesched.plugin.calibration import DECILES
from sagesched.plugin.watch import Watch

from .test_plugin_disaggregation import Scheduler

client = pytest.importorskip("prometheus_client")


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Reads one value; None where it is not there."""
    monkeypatch.setattr(metrics, "_exported", {})
    monkeypatch.setattr(metrics, "_seen", {})
    metrics.enable()
    yield lambda name, **labels: client.REGISTRY.get_sample_value(f"sagesched_{name}", labels)
    for metric in metrics._exported.values():
        client.REGISTRY.unregister(metric)


def test_what_has_not_happened_yet_is_there_as_nought(page: Any) -> None:
    assert page("fallbacks_total", cause="rank") == 0
    assert page("retracted_requests_total", kind="memory") == 0
    assert page("admissions_total", turn="ahead") == 0
    assert page("predicted_deciles_total", decile=str(DECILES)) == 0
    assert page("opted_out_requests_total") == 0
    fallback.report("rank", ValueError())
    assert page("fallbacks_total", cause="rank") == 1
    labelled = {
        name
        for name, metric in metrics._exported.items()
        if getattr(metric, "_labelnames", ()) and not name.startswith("tenant_")
    }
    assert labelled == set(metrics.LABELS)


def test_every_cause_of_a_fallback_in_the_code_is_known() -> None:
    folder = Path(metrics.__file__).parent
    code = "".join(file.read_text() for file in folder.rglob("*.py"))
    causes = set(re.findall(r"""(?:fallback\.report|self\._failed)\(\s*"([^"]+)\"""", code))
    assert causes == set(metrics.LABELS["fallbacks"])


def test_who_is_ranked_is_told_at_once_where_nobody_waits(page: Any) -> None:
    watch, state = Watch(), SimpleNamespace(order=None)
    watch.ranked(True)
    watch.stepped(state, 1)
    assert page("ranked_requests_total", source="predicted") == 1
    watch.ranked(False)
    watch.stepped(state, 1)
    assert page("ranked_requests_total", source="prior") == 1


def test_who_is_ranked_is_told_when_the_queue_is_empty_again(page: Any) -> None:
    watch, state = Watch(), SimpleNamespace(order=["somebody"])
    watch.ranked(True)
    watch.stepped(state, 1)
    assert page("ranked_requests_total", source="predicted") == 0  # within half a second
    state.order = []
    watch.stepped(state, 2)
    assert page("ranked_requests_total", source="predicted") == 1


@pytest.mark.parametrize("policy", ["gittins", "larry"])
def test_who_opts_out_is_counted_once(page: Any, policy: str) -> None:
    scheduler = Scheduler("decode", policy=policy)
    scheduler.send("of no wish", 100)
    request = scheduler.send("opted out", 100, wish="off")
    assert page("opted_out_requests_total") == 1
    scheduler.take()
    scheduler.add(request, is_retracted=True)  # it comes back
    assert page("opted_out_requests_total") == 1
