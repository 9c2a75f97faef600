"""The comparison as Markdown and JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from bench.replay.cells import LOADS, MOONCAKE, STEP_TIME, WARM_UP, Cell
from bench.replay.runs import PREDICTOR, Comparison
from sagesched.replay.result import Row
from sagesched.replay.summary import Spread, Summary, summaries

BASELINE = "fcfs"


def as_json(comparison: Comparison, settings: Mapping[str, object]) -> str:
    """Settings, saturations, every row, and what is missing."""
    cells = list(dict.fromkeys(run.cell for run in comparison.planned))
    entries = [entry for run in comparison.planned if (entry := comparison.found(run))]
    document = {
        "settings": {**settings, **asdict(comparison.origin), "step_time": asdict(STEP_TIME)},
        "saturation_rps": {str(cell): comparison.saturations_rps(cell) for cell in cells},
        "rows": [
            {"workload": e["key"]["workload"], "engine": e["key"]["engine"], **e["row"]}
            for e in entries
        ],
        "missing": sum(comparison.found(run) is None for run in comparison.planned),
        "failures": comparison.failures,
    }
    return json.dumps(document, indent=1) + "\n"


def as_markdown(comparison: Comparison, command: str, skipped: Sequence[str]) -> str:
    """A table per workload and engine, and what a reader must know of them."""
    cells = list(dict.fromkeys(run.cell for run in comparison.planned))
    blocks = ["# Replay: the standing comparison", _about(comparison, command)]
    for cell in cells:
        rows = _rows(comparison, cell)
        if rows:
            blocks += [f"## {cell}", _table(rows), *_notes(comparison, cell, rows)]
    return "\n\n".join([*blocks, "## What is missing", _missing(comparison, skipped)]) + "\n"


def _about(comparison: Comparison, command: str) -> str:
    origin = comparison.origin
    seeds = sorted({run.seed for run in comparison.planned})
    wall_s = sum(entry["wall_s"] for run in comparison.planned if (entry := comparison.found(run)))
    named = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]} only"
    return (
        f"`{command}` at commit {origin.commit}, SGLang {origin.sglang}, "
        f"{origin.hardware}; {wall_s / 60:.0f} minutes of runs, all processes together.\n\n"
        f"SGLang's own scheduler in virtual time, {STEP_TIME.model} on {STEP_TIME.gpu} (a roofline "
        f"from data sheets, not calibrated on that GPU), {comparison.n} requests a run, the first "
        f"{WARM_UP:.0%} not counted. Policies that predict do so with the {PREDICTOR} predictor, "
        "which starts with an empty history; oracle policies know the true lengths. Load is "
        "relative to the saturation under fcfs of the same requests on the same engine. "
        f"Reported on {named}; policies were tuned on others.\n\n"
        f"Every figure is **a ratio to {BASELINE}** on the same requests, smaller is better: mean "
        "TTLT / P99 TTLT [mean TTFT], means over seeds ± standard deviation; in brackets behind "
        "it the number of seeds where it is not that of the table. P99 rests on the slowest "
        "hundredth of one run's requests: a few seeds say little about it. Above saturation the "
        "queue grows with the number of requests: compare runs of equal length only.\n\n"
        "Checked in every run that counts: each request ended with exactly its length or was "
        "refused, no policy raised an error, the mean is not below the lower bound, and SGLang's "
        "own leak check passed."
    )


def _rows(comparison: Comparison, cell: Cell) -> list[Row]:
    runs = [run for run in comparison.planned if run.cell == cell]
    return [Row(**entry["row"]) for run in runs if (entry := comparison.found(run))]


def _table(rows: Sequence[Row]) -> str:
    by_load = summaries(rows, BASELINE)
    loads = sorted(load for load in LOADS if load in by_load)
    most = {load: max(len(found.seeds) for found in by_load[load]) for load in loads}
    titles = [f"load {load:g}, {most[load]} seed{'s' * (most[load] > 1)}" for load in loads]
    lines = [f"| policy | {' | '.join(titles)} |", "|---|" + "---|" * len(loads)]
    found = {(s.policy, load): s for load in loads for s in by_load[load]}
    for policy in dict.fromkeys(row.policy for row in rows):
        cells = [_figures(found.get((policy, load)), most[load]) for load in loads]
        lines.append(f"| {policy} | {' | '.join(cells)} |")
    bounds = [_bound(found.get((BASELINE, load))) for load in loads]
    return "\n".join([*lines, f"| *lower bound* | {' | '.join(bounds)} |"])


def _figures(found: Summary | None, most: int) -> str:
    if found is None or not found.ratios:
        return "-"
    if found.policy == BASELINE:
        names = ("mean_ttlt_s", "p99_ttlt_s", "mean_ttft_s")
        mean, p99, first = (f"{found.values[name].mean:.3g} s" for name in names)
        return f"{mean} / {p99} [{first}]"
    names = ("mean_ttlt_s", "p99_ttlt_s", "mean_ttft_s")
    mean, p99, first = (_spread(found.ratios[name]) for name in names)
    seeds = len(found.ratios["mean_ttlt_s"].values)
    return f"{mean} / {p99} [{first}]" + (f" ({seeds})" if seeds < most else "")


def _spread(value: Spread) -> str:
    return f"{value.mean:.2f}" + (f" ± {value.std:.2f}" if len(value.values) > 1 else "")


def _bound(baseline: Summary | None) -> str:
    if baseline is None:
        return "-"
    values = baseline.values
    return f"{values['lower_bound_mean_ttlt_s'].mean / values['mean_ttlt_s'].mean:.2f} / -"


def _notes(comparison: Comparison, cell: Cell, rows: Sequence[Row]) -> list[str]:
    rates = [f"{rate:.3g}" for rate in comparison.saturations_rps(cell)]
    notes = [f"fcfs saturates at {', '.join(rates)} requests/s, by seed."]
    retracted = sum(row.retractions for row in rows) / len(rows)
    notes.append(f"SGLang retracted {retracted:.1f} requests a run.")
    refused = sorted({int(row.extra["refused"]) for row in rows})
    if refused[-1] or cell.workload == MOONCAKE:
        span = f"{refused[0]} to {refused[-1]}" if len(refused) > 1 else f"{refused[0]}"
        notes.append(
            f"Refused, longer than the engine's context or pool: {span} of "
            f"{comparison.n} requests a run, not in the figures."
        )
    return [" ".join(notes)]


def _missing(comparison: Comparison, skipped: Sequence[str]) -> str:
    lines = [f"- {text}" for text in skipped]
    lines += [f"- failed: {text}" for text in comparison.failures]
    asked = Counter((str(run.cell), run.load) for run in comparison.planned)
    left = Counter(
        (str(run.cell), run.load) for run in comparison.planned if comparison.found(run) is None
    )
    for cell in dict.fromkeys(cell for cell, _ in left):
        parts = [
            f"{count} of {asked[key]} runs at load {key[1]:g}"
            for key, count in sorted(left.items())
            if key[0] == cell
        ]
        lines.append(f"- {cell}: {', '.join(parts)}: the budget was spent")
    return "\n".join(lines) or "Nothing."
