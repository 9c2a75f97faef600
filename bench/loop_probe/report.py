"""What the probe saw, in numbers and as Markdown."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.loop_probe.stretches import COLLECTION, COLLECTION_ELSEWHERE
from sagesched.bench.report import table

LIMIT_S = 0.002
RARE = 0.001
"""Share of ticks that may be late for the prediction thread's sake: where the loop gives Python
away several times in one round, to send or to tokenize, it waits a switch interval each time."""

LAG_HEAD = ["policy", "measured", "ticks", "P50", "P99", "P99.9", "max", "> 2 ms", "most of ours"]
LAG_HEAD += ["late: ours", "loop", "prediction", "neither"]

STRETCH_HEAD = ["policy", "ours", "stretches", "P50", "P99", "P99.9", "max"]

STRETCHES = """\
CPU time of our code on the loop, from one await to the next, in milliseconds, without SGLang's own
functions inside. Under fcfs the hooks find that the policy is another one. Python's garbage
collection, SGLang's heap for the most part, is left out of the stretches and noted for itself."""

LAGS = """\
How late the loop runs a task that is due every millisecond, in milliseconds. At real-time priority
of the tokenizer process no other program on the cores delays it; the last line is the same with
Python's own switch interval of 5 ms instead of ours. Of the ticks that are late by more than 2
ms: in how many our code on the loop took more than 2 ms of CPU time (all of it together; the most
in any tick is the column before), else all code on the loop (SGLang's), else the prediction thread,
which may have kept Python from the loop, else neither: the machine was busy."""

Result = dict[str, dict[str, Any]]
"""By policy, then by how it was measured: a `summary`."""


def summary(run: dict[str, Any]) -> dict[str, Any]:
    """Figures of a run; times in milliseconds."""
    late, ours, loop, worker = np.array(run["ticks"]).T > LIMIT_S
    return {
        "switch_interval_ms": 1e3 * run["switch_interval_s"],
        "lag": _quantiles([tick[0] for tick in run["ticks"]]),
        "late": {
            "ours": int((late & ours).sum()),
            "loop": int((late & loop & ~ours).sum()),
            "prediction": int((late & worker & ~loop & ~ours).sum()),
            "neither": int((late & ~worker & ~loop & ~ours).sum()),
        },
        "ours_in_a_tick": _quantiles([tick[1] for tick in run["ticks"]]),
        "stretches": {name: _quantiles(times) for name, times in run["stretches"].items()},
    }


def _quantiles(seconds: Any) -> dict[str, float]:
    ms = 1e3 * np.asarray(seconds)
    p50, p99, p999 = np.percentile(ms, [50, 99, 99.9])
    return {"count": len(ms), "p50": p50, "p99": p99, "p99.9": p999, "max": float(ms.max())}


def too_long(result: Result) -> bool:
    """Whether we block the loop for longer than the limit."""
    runs = result["gittins"]
    longest = [
        of["max"]
        for run in runs.values()
        for name, of in run["stretches"].items()
        if name not in (COLLECTION, COLLECTION_ELSEWHERE)
    ]
    still = runs.get("real time")
    waited = still is not None and still["late"]["prediction"] > RARE * still["lag"]["count"]
    return max(longest) > 1e3 * LIMIT_S or waited


def report(heading: str, result: Result) -> str:
    """Markdown."""
    stretches = table(STRETCH_HEAD, _stretches(result))
    lags = table(LAG_HEAD, _lags(result))
    return "\n\n".join(["# The tokenizer's event loop", heading, STRETCHES, stretches, LAGS, lags])


def _stretches(result: Result) -> list[list[str]]:
    rows = []
    for policy, runs in result.items():
        run = runs["as it is"]
        for name, of in sorted(run["stretches"].items(), key=lambda item: -item[1]["max"]):
            rows.append([policy, f"`{name}`", str(of["count"]), *_numbers(of)])
    return rows


def _lags(result: Result) -> list[list[str]]:
    return [
        [
            *(policy, name, str(run["lag"]["count"]), *_numbers(run["lag"])),
            f"{100.0 * sum(run['late'].values()) / run['lag']['count']:.2f}%",
            f"{run['ours_in_a_tick']['max']:.3f}",
            *map(str, run["late"].values()),
        ]
        for policy, runs in result.items()
        for name, run in runs.items()
    ]


def _numbers(of: dict[str, float]) -> list[str]:
    return [f"{of[name]:.3f}" for name in ("p50", "p99", "p99.9", "max")]
