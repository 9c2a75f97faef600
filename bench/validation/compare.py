"""The comparison: errors, bars, and the Markdown that is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.demo.tables import markdown
from bench.validation.real import DISTURBED
from bench.validation.runs import LOADS, POLICIES, Real, Times, key, name_of
from sagesched.replay.calibrate import summary
from sagesched.replay.fitted import FittedStepTime

WITHIN, RATIO_WITHIN = 0.15, 0.1


def compare(real: Real, replayed: Mapping[str, Times]) -> list[dict[str, Any]]:
    """One row per run, with the relative errors and, at 1.1, ratios to fcfs."""
    rows = []
    for load in LOADS:
        bases = [runs[key("fcfs", load)].figures() for runs in (real.runs, replayed)]
        for policy in POLICIES:
            pair = [runs[key(policy, load)].figures() for runs in (real.runs, replayed)]
            ratios = [
                figures["mean_ttlt_s"] / base["mean_ttlt_s"]
                for figures, base in zip(pair, bases, strict=True)
            ]
            rows.append(
                {
                    "load": name_of(load),
                    "policy": policy,
                    "real": pair[0],
                    "real_step_s": real.runs[key(policy, load)].step_s,
                    "replay": pair[1],
                    "error": {name: pair[1][name] / pair[0][name] - 1 for name in pair[0]},
                    "real_ratio_to_fcfs": ratios[0],
                    "replay_ratio_to_fcfs": ratios[1],
                }
            )
    return rows


def failures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which bars were missed, in words."""
    missed = []
    for row in rows:
        name = f"{row['policy']}, {row['load']}"
        if row["load"] == name_of(LOADS[-1]):
            off = row["replay_ratio_to_fcfs"] - row["real_ratio_to_fcfs"]
            if abs(off) > RATIO_WITHIN:
                missed.append(f"{name}: ratio to fcfs off by {off:+.2f}")
            continue
        for figure in ("mean_ttlt_s", "p95_ttlt_s"):
            if abs(row["error"][figure]) > WITHIN:
                missed.append(f"{name}: {figure} off by {row['error'][figure]:+.1%}")
    heavy = [row for row in rows if row["load"] == name_of(LOADS[-1])]
    orders = [
        [row["policy"] for row in sorted(heavy, key=lambda r: r[f"{side}_ratio_to_fcfs"])]
        for side in ("real", "replay")
    ]
    if orders[0] != orders[1]:
        missed.append(f"load 1.1: order {orders[0]} on the server, {orders[1]} in replay")
    return missed


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Seconds, real / replay, with the error of mean and P95."""
    head = ["run", "mean TTLT", "error", "P95 TTLT", "error", "mean TTFT", "mean / fcfs", "step"]
    cells = []
    for row in rows:
        real, replay, error = row["real"], row["replay"], row["error"]
        cells.append(
            [
                f"{row['policy']}, {row['load']}",
                f"{real['mean_ttlt_s']:.2f} / {replay['mean_ttlt_s']:.2f}",
                f"{error['mean_ttlt_s']:+.1%}",
                f"{real['p95_ttlt_s']:.2f} / {replay['p95_ttlt_s']:.2f}",
                f"{error['p95_ttlt_s']:+.1%}",
                f"{real['mean_ttft_s']:.2f} / {replay['mean_ttft_s']:.2f}",
                f"{row['real_ratio_to_fcfs']:.2f} / {row['replay_ratio_to_fcfs']:.2f}",
                f"{1e3 * row['real_step_s']:.2f} ms",
            ]
        )
    return markdown(head, cells)


def report(
    rows: Sequence[Mapping[str, Any]], missed: Sequence[str], model: FittedStepTime, about: str
) -> str:
    """The Markdown that is kept."""
    verdict = "All bars are met." if not missed else "Missed:\n\n- " + "\n- ".join(missed)
    return f"""# The replay against a real server

{about}

Seconds: the real server's, seen by its client / the replay's. The last column is the real server's
mean decode step as it counts itself: runs in which other programs on the shared cores held it up by
more than {DISTURBED - 1:.0%} were repeated.

{table(rows)}

Bars: at once and at load 0.8, mean and P95 TTLT within {WITHIN:.0%}; at load 1.1 the same order of
policies by mean TTLT and ratios to fcfs within {RATIO_WITHIN:g}. {verdict}

The step-time model, calibrated on the same server over HTTP:

```
{summary(model)}
```
"""
