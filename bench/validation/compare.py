"""The comparison: errors, bars, and the Markdown that is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from bench.demo.tables import markdown
from bench.validation.real import DISTURBED
from bench.validation.runs import HEAVY, POLICIES, SCENARIOS, Scenario, Times, key
from sagesched.replay.calibrate import summary
from sagesched.replay.fitted import FittedStepTime

WITHIN, RATIO_WITHIN = 0.15, 0.1
SHAKES = (-0.02, 0.02)
"""Relative changes of the step time under which the ratios are looked at again."""

LPM_NOTE = """\
Under lpm a prompt without a cached prefix waits while any other has one, and the first of a class
of prompts to be served brings all of them forward. Whether the queue runs short enough once, early
on, thus decides about a whole class for the rest of the run, and a percent of speed can decide it:
compare the columns for shorter and longer steps, and expect spread over seeds, not a number."""

Runs = Mapping[str, Times]


def compare(real: Runs, replayed: Runs, shaken: Sequence[Runs] = ()) -> list[dict[str, Any]]:
    """One row per run: figures, relative errors and ratios to fcfs.

    Args:
        real: the server's runs.
        replayed: with the calibrated model.
        shaken: with the model made a little faster and slower; what the ratios are then.
    """
    rows = []
    for scenario in SCENARIOS:
        for policy in POLICIES:
            name = key(policy, scenario)
            figures, modelled = real[name].figures(), replayed[name].figures()
            rows.append(
                {
                    "policy": policy,
                    "load": scenario.title,
                    "seed": scenario.seed,
                    "heavy": scenario.load == HEAVY,
                    "real": figures,
                    "real_step_s": real[name].step_s,
                    "replay": modelled,
                    "error": {each: modelled[each] / figures[each] - 1 for each in figures},
                    "real_ratio": ratio(real, policy, scenario),
                    "replay_ratio": ratio(replayed, policy, scenario),
                    "shaken_ratios": [ratio(runs, policy, scenario) for runs in shaken],
                }
            )
    return rows


def ratio(runs: Runs, policy: str, scenario: Scenario) -> float:
    """Mean TTLT over that of fcfs."""
    pair = [runs[key(name, scenario)].figures()["mean_ttlt_s"] for name in (policy, "fcfs")]
    return pair[0] / pair[1]


def failures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which bars were missed, in words; at load 1.1 ratios are means over the seeds."""
    missed = []
    for row in rows:
        for figure in ("mean_ttlt_s", "p95_ttlt_s"):
            if not row["heavy"] and abs(row["error"][figure]) > WITHIN:
                name = f"{row['policy']}, {row['load']}"
                missed.append(f"{name}: {figure} off by {row['error'][figure]:+.1%}")
    ratios = heavy_ratios(rows)
    for policy, (real, replay) in ratios.items():
        if abs(replay - real) > RATIO_WITHIN:
            missed.append(f"{policy}, load {HEAVY}: ratio to fcfs off by {replay - real:+.2f}")
    orders = [sorted(POLICIES, key=lambda policy: ratios[policy][side]) for side in (0, 1)]
    if orders[0] != orders[1]:
        missed.append(f"load {HEAVY}: order {orders[0]} on the server, {orders[1]} in replay")
    return missed


def heavy_ratios(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """(real, replay) mean ratio to fcfs over the seeds at load 1.1, per policy."""
    return {
        policy: (
            fmean(r["real_ratio"] for r in rows if r["heavy"] and r["policy"] == policy),
            fmean(r["replay_ratio"] for r in rows if r["heavy"] and r["policy"] == policy),
        )
        for policy in POLICIES
    }


def single_misses(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Single runs at load 1.1 whose ratio is off by more than the bar."""
    return [
        f"{row['policy']}, seed {row['seed']}: {row['real_ratio']:.2f} on the server, "
        f"{row['replay_ratio']:.2f} in replay"
        for row in rows
        if row["heavy"] and abs(row["replay_ratio"] - row["real_ratio"]) > RATIO_WITHIN
    ]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Seconds, real / replay, with the error of mean and P95."""
    head = ["run", "mean TTLT", "error", "P95 TTLT", "error", "mean TTFT", "mean / fcfs"]
    head += [f"{shake:+.0%} / {-shake:+.0%} step" for shake in SHAKES[:1]] + ["decode step"]
    cells = []
    for row in rows:
        real, replay, error = row["real"], row["replay"], row["error"]
        cells.append(
            [
                f"{row['policy']}, {row['load']}, seed {row['seed']}",
                f"{real['mean_ttlt_s']:.2f} / {replay['mean_ttlt_s']:.2f}",
                f"{error['mean_ttlt_s']:+.1%}",
                f"{real['p95_ttlt_s']:.2f} / {replay['p95_ttlt_s']:.2f}",
                f"{error['p95_ttlt_s']:+.1%}",
                f"{real['mean_ttft_s']:.2f} / {replay['mean_ttft_s']:.2f}",
                f"{row['real_ratio']:.2f} / {row['replay_ratio']:.2f}",
                " / ".join(f"{value:.2f}" for value in row["shaken_ratios"]),
                f"{1e3 * row['real_step_s']:.2f} ms",
            ]
        )
    return markdown(head, cells)


def report(
    rows: Sequence[Mapping[str, Any]], missed: Sequence[str], model: FittedStepTime, about: str
) -> str:
    """The Markdown that is kept."""
    verdict = "All bars are met." if not missed else "Missed:\n\n- " + "\n- ".join(missed)
    single = single_misses(rows)
    alone = "\n- ".join([f"Single runs at load {HEAVY} that are further off:\n", *single])
    if any(line.startswith("lpm") for line in single):
        alone += f"\n\n{LPM_NOTE}"
    means = "; ".join(
        f"{policy} {real:.2f} / {replay:.2f}"
        for policy, (real, replay) in heavy_ratios(rows).items()
        if policy != "fcfs"
    )
    return f"""# The replay against a real server

{about}

Seconds: the real server's, seen by its client / the replay's. "mean / fcfs": the mean TTLT over
that of fcfs, then the replay's with all steps {abs(SHAKES[0]):.0%} shorter / longer: where these
differ, the outcome hangs on less than a calibration can tell. The last column is the real server's
mean decode step as it counts itself; runs that other programs on the shared cores held up by more
than {DISTURBED - 1:.0%} are repeated.

{table(rows)}

Bars: at once and at load 0.8, mean and P95 TTLT within {WITHIN:.0%}; at load 1.1, over the seeds,
the same order of policies by mean TTLT and ratios to fcfs within {RATIO_WITHIN:g} (means: {means}).
{verdict}

{alone if single else ""}

The step-time model, calibrated on the same server over HTTP:

```
{summary(model)}
```
"""
