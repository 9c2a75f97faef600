"""From what the client saw to numbers: statistics, the JSON file, the exit code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .client import Outcome
from .learning import Prediction
from .saturation import token_rate
from .workload import Request

SAME_SPEED, SAME_PACE = 1.2, 1.06
"""Policies whose token rates are within this factor ran on an equally fast machine. With steps of
an even length the rates differ by a percent or two, so less is needed to tell."""


@dataclass(frozen=True)
class PolicyResult:
    """Statistics of the timed part under one policy, over the requests that did not fail.

    Times are in seconds from the moment a request was due. Percentiles interpolate linearly
    between the two nearest ranks (NumPy's default). All times are 0 if every request failed.
    ``tokens_per_s`` is the server's rate in the middle of the run (see ``saturation.py``).
    """

    mean_ttlt_s: float
    p50_ttlt_s: float
    p95_ttlt_s: float
    p99_ttlt_s: float
    mean_ttft_s: float
    throughput_rps: float
    tokens_per_s: float | None
    failed: int
    mismatched: int
    wall_s: float
    client_lag_p99_s: float
    cached_prompt_tokens: int
    retractions: int
    first_error: str | None


@dataclass(frozen=True)
class FamilyRow:
    """One task family: what was drawn, what was predicted, how long its users waited.

    ``predicted_median_tokens`` is the mean of the predicted medians. Without predictions their
    fields are None.
    """

    family: str
    requests: int
    unseen: int
    mean_tokens: float
    predicted_mean_tokens: float | None
    median_tokens: float
    predicted_median_tokens: float | None
    within_p10_p90: float | None
    mean_ttlt_s: Mapping[str, float]


def policy_result(requests: Sequence[Request], outcomes: Sequence[Outcome]) -> PolicyResult:
    """Summarise a run; ``outcomes[i]`` belongs to ``requests[i]``."""
    good = [o for o in outcomes if o.error is None]
    ttlt = np.array([o.ttlt for o in good] or [0.0])
    p50, p95, p99 = np.percentile(ttlt, [50, 95, 99]).tolist()
    wall = max(o.done for o in outcomes) - min(o.due for o in outcomes)
    return PolicyResult(
        mean_ttlt_s=float(ttlt.mean()),
        p50_ttlt_s=p50,
        p95_ttlt_s=p95,
        p99_ttlt_s=p99,
        mean_ttft_s=float(np.mean([o.ttft for o in good] or [0.0])),
        throughput_rps=len(good) / wall if wall > 0 else 0.0,
        tokens_per_s=token_rate(outcomes),
        failed=len(outcomes) - len(good),
        mismatched=sum(
            o.error is None and o.tokens != r.output_tokens
            for r, o in zip(requests, outcomes, strict=True)
        ),
        wall_s=wall,
        client_lag_p99_s=float(np.percentile([o.sent - o.due for o in outcomes], 99)),
        cached_prompt_tokens=sum(o.cached for o in good),
        retractions=sum(o.retractions for o in good),
        first_error=next((o.error for o in outcomes if o.error is not None), None),
    )


def family_rows(
    requests: Sequence[Request],
    predictions: Sequence[Prediction] | None,
    runs: Mapping[str, Sequence[Outcome]],
) -> list[FamilyRow]:
    """One row per task family in order of mean length, and one over all."""
    members: dict[str, list[int]] = {}
    for place, request in enumerate(requests):
        members.setdefault(request.family, []).append(place)
    rows = [_family_row(name, m, requests, predictions, runs) for name, m in members.items()]
    rows.sort(key=lambda row: row.mean_tokens)
    return [*rows, _family_row("all", range(len(requests)), requests, predictions, runs)]


def _family_row(
    name: str,
    places: Sequence[int],
    requests: Sequence[Request],
    predictions: Sequence[Prediction] | None,
    runs: Mapping[str, Sequence[Outcome]],
) -> FamilyRow:
    tokens = [requests[i].output_tokens for i in places]
    predicted = [predictions[i] for i in places] if predictions else []
    covered = [p.covers(t) for p, t in zip(predicted, tokens, strict=False)]
    waits = {
        policy: [outcomes[i].ttlt for i in places if outcomes[i].error is None]
        for policy, outcomes in runs.items()
    }
    return FamilyRow(
        family=name,
        requests=len(places),
        unseen=sum(not requests[i].seen for i in places),
        mean_tokens=float(np.mean(tokens)),
        predicted_mean_tokens=_mean([p.mean for p in predicted]),
        median_tokens=float(np.median(tokens)),
        predicted_median_tokens=_mean([p.median for p in predicted]),
        within_p10_p90=_mean(covered),
        mean_ttlt_s={policy: float(np.mean(w)) if w else 0.0 for policy, w in waits.items()},
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def report_json(
    facts: Mapping[str, Any], results: Mapping[str, PolicyResult], families: Sequence[FamilyRow]
) -> dict[str, Any]:
    """The content of ``--json FILE``: ``facts`` on the run, ``policies`` and ``families``."""
    return {
        **facts,
        "policies": {policy: asdict(result) for policy, result in results.items()},
        "families": [asdict(row) for row in families],
    }


def write_json(file: Path, report: Mapping[str, Any]) -> None:
    """Write a report, creating its folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def busy_machine(results: Mapping[str, PolicyResult], *, paced: bool = False) -> str:
    """A warning if the server's own speed differed between policies; empty if it did not.

    All policies decode the same tokens in equally full batches: another speed means that
    something else used the machine, and then waiting times cannot be compared.
    """
    rates = [r.tokens_per_s for r in results.values() if r.tokens_per_s]
    if not rates or max(rates) <= (SAME_PACE if paced else SAME_SPEED) * min(rates):
        return ""
    return (
        f"Careful: the server made {min(rates):.0f} to {max(rates):.0f} output tokens/s, depending "
        "on the policy. If other programs were running, stop them and run the demo again."
    )


def exit_status(results: Mapping[str, PolicyResult]) -> int:
    """1 if any request failed or any true length was missed, else 0."""
    return int(any(r.failed or r.mismatched for r in results.values()))
