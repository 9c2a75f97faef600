"""The comparison on the terminal: one Markdown table per load."""

from __future__ import annotations

from collections.abc import Sequence

from sagesched.replay.session import Session
from sagesched.replay.summary import Spread, Summary, summaries

SPREAD = (
    "Means over seeds ± standard deviation; ratios are taken seed by seed, on the same requests."
)

SATURATING = 4
"""With fewer requests per slot than this the engine is hardly ever full."""


def session_table(session: Session) -> str:
    """All tables, and what a reader must know beside them."""
    plan = session.plan
    head = (
        f"{plan.workload_name} on {plan.step_time_name}; "
        f"fcfs saturates at {session.saturation_rps:.3g} requests/s{_by_seed(session)}"
    )
    blocks = [head]
    for load, rows in summaries(session.rows, plan.baseline).items():
        rate = load * session.saturation_rps
        count = max(len(row.seeds) for row in rows)
        title = f"Load {load:.4g} ({rate:.3g} requests/s), {count} seed{'s' * (count > 1)}"
        table = load_table(rows, plan.baseline, plan.scenario.cluster is not None)
        blocks.append(f"{title}\n\n{table}")
        bound = rows[0].values["lower_bound_mean_ttlt_s"].mean
        if bound > 0:
            blocks.append(f"No schedule can have a mean TTLT below {seconds(bound)} s here.")
    about = [SPREAD] if len(plan.seeds) > 1 else []
    return "\n\n".join([*blocks, *about, *notes(session)]) + "\n"


def _by_seed(session: Session) -> str:
    rates = [found.offered_rps for found in session.saturations.values()]
    if len(rates) < 2:
        return ""
    return f" ({min(rates):.3g} to {max(rates):.3g}, by seed; each seed's load is of its own)"


def load_table(rows: Sequence[Summary], baseline: str, replicas: bool = False) -> str:
    """The policies at one load; times in seconds. For several replicas what tells choices apart."""
    against = f"x {baseline}"
    header = [
        "policy", "knows", "mean TTLT s", against, "P50", "P95", "P99 TTLT s", against,
        "mean TTFT s", against, *(("P99 TTFT s", against, "hit") if replicas else ()),
        "preempted", "retracted",
    ]  # fmt: skip
    lines = [header, *(_cells(row, replicas) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(_line(cells, widths) for cells in [header, rule, *lines[1:]])


def notes(session: Session) -> list[str]:
    """What a reader must know; the same on the terminal and in the report."""
    plan = session.plan
    found = list(plan.workload_notes)
    served, slots = session.served, plan.scenario.engine.max_running
    if served < SATURATING * slots:
        found.append(
            f"The saturation was measured on {served} requests, too few to keep {slots} running: "
            "what load 1 means is rough. Use a larger --n or a smaller --max-running."
        )
    for load, rows in summaries(session.rows, plan.baseline).items():
        for row in rows:
            if row.fallbacks:
                found.append(
                    f"Load {load:g}: {row.policy} raised {row.fallbacks} errors; stock order took "
                    "its place."
                )
        if refused := max(count for row in rows for count in row.refused):
            found.append(
                f"Load {load:g}: SGLang refused {refused} requests of a run, which do not fit its "
                "KV pool or context; they are not in the times."
            )
        if cut := max(count for row in rows for count in row.cut):
            found.append(
                f"Load {load:g}: {cut} outputs of a run were cut short: they do not fit the "
                "context or the KV pool."
            )
        if len({row.seeds for row in rows}) > 1:
            found.append(
                f"Load {load:g}: not every policy has every seed (runs are missing): compare "
                "ratios, which are taken seed by seed, not times."
            )
    found += dict.fromkeys(note for run in session.runs for note in run.details.notes)
    if plan.scenario.warmup:
        found.append(f"The first {plan.scenario.warmup:.0%} of the requests do not count.")
    if session.failures:
        found.append(f"{len(session.failures)} runs failed; they are missing here.")
    if session.interrupted:
        found.append("Interrupted: the runs that had not ended are missing here.")
    return found


def seconds(value: float) -> str:
    """Three significant digits, never in powers of ten."""
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:#.3g}" if value >= 0.01 else f"{value:.4f}"


def _cells(row: Summary, replicas: bool) -> list[str]:
    values, ratios = row.values, row.ratios
    more = []
    if replicas:
        more = [
            _seconds(values["p99_ttft_s"]),
            _ratio(ratios.get("p99_ttft_s")),
            f"{values['prefix_hit'].mean:.3f}",
        ]
    return [
        row.policy,
        row.predictor,
        _seconds(values["mean_ttlt_s"]),
        _ratio(ratios.get("mean_ttlt_s")),
        seconds(values["p50_ttlt_s"].mean),
        seconds(values["p95_ttlt_s"].mean),
        _seconds(values["p99_ttlt_s"]),
        _ratio(ratios.get("p99_ttlt_s")),
        _seconds(values["mean_ttft_s"]),
        _ratio(ratios.get("mean_ttft_s")),
        *more,
        f"{values['preemptions'].mean:.0f}",
        f"{values['retractions'].mean:.0f}",
    ]


def _seconds(value: Spread) -> str:
    text = seconds(value.mean)
    return f"{text} ± {seconds(value.std)}" if len(value.values) > 1 else text


def _ratio(value: Spread | None) -> str:
    if value is None:
        return "-"
    text = f"{value.mean:.2f}"
    return f"{text} ± {value.std:.2f}" if len(value.values) > 1 else text


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Names to the left, numbers to the right."""
    padded = [
        cell.ljust(width) if column < 2 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"
