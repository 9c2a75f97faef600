"""The report's tables: all numbers of a load, and who wins and who pays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from itertools import chain

from sagesched.replay.details import Group
from sagesched.replay.report.charts import colour
from sagesched.replay.report.view import LoadView, PolicyView
from sagesched.replay.summary import Spread
from sagesched.replay.table import seconds

SHOWN_CLASSES = 12

COLUMNS = (
    ("mean_ttlt_s", "mean TTLT"), ("p50_ttlt_s", "P50"), ("p95_ttlt_s", "P95"),
    ("p99_ttlt_s", "P99"), ("max_ttlt_s", "max"), ("mean_ttft_s", "mean TTFT"),
    ("p99_ttft_s", "P99 TTFT"), ("mean_tpot_s", "time per token"), ("max_stall_s", "longest stall"),
)  # fmt: skip
SPREAD_SHOWN = ("mean_ttlt_s", "p99_ttlt_s", "mean_ttft_s")
COUNTS = (("preemptions", "preempted"), ("retractions", "retracted"))


def numbers(load: LoadView) -> str:
    """Every policy, every quantity; seconds, with the ratio to the baseline below."""
    names = ["policy", "knows", *(name for _, name in COLUMNS), *(name for _, name in COUNTS)]
    header = "".join(
        f"<th>{escape(name)}</th>" for name in [*names, "prefix hits", "req/s (middle 80%)"]
    )
    rows = "".join(_numbers_row(view, load.baseline) for view in load.policies)
    table = f'<div class="wide"><table><tr>{header}</tr>{rows}</table></div>'
    bound = load.policies[0].summary.values["lower_bound_mean_ttlt_s"].mean
    if bound <= 0:
        return table
    return (
        f"{table}<p class='quiet'>No schedule whatever can have a mean TTLT below "
        f"{seconds(bound)} s for these requests on this engine.</p>"
    )


def breakdown(load: LoadView, kind: str, title: str, about: str, focus: str) -> str:
    """Mean time to last token of each group, as a ratio to the baseline; "" without groups.

    Classes and tenants are sorted by what the policy ``focus`` does to them.
    """
    base = load.find(load.baseline)
    groups = base.groups[kind] if base else {}
    others = [view for view in load.policies if view is not base]
    if base is None or len(groups) < 2 or not others:
        return ""
    rows = [_breakdown_row(group, others, kind) for group in groups.values()]
    focused = load.find(focus)
    if kind in ("classes", "tenants") and focused is not None:
        rows = [row for _, row in sorted(zip(_gains(groups, focused, kind), rows, strict=True))]
    header = "".join(
        f'<th><i class="key {colour(view, load.baseline)}"></i>{escape(view.name)}</th>'
        for view in others
    )
    head = (
        f"<tr><th>{escape(about)}</th><th>requests</th><th>{escape(load.baseline)}, s</th>"
        f"{header}</tr>"
    )
    return f"<h4>{escape(title)}</h4>{_folded(head, rows)}"


def _folded(head: str, rows: Sequence[str]) -> str:
    """A long table shows both ends, the rest on request."""
    if len(rows) <= SHOWN_CLASSES:
        return f'<div class="wide"><table class="heat">{head}{"".join(rows)}</table></div>'
    half = SHOWN_CLASSES // 2
    ends = [*rows[:half], '<tr><td colspan="99" class="gap">…</td></tr>', *rows[-half:]]
    return (
        f'<div class="wide"><table class="heat">{head}{"".join(ends)}</table></div>'
        f"<details><summary>All {len(rows)}</summary>"
        f'<div class="wide"><table class="heat">{head}{"".join(rows)}</table></div></details>'
    )


def _numbers_row(view: PolicyView, baseline: str) -> str:
    values, ratios = view.summary.values, view.summary.ratios
    cells = (_time(values[name], ratios.get(name), name in SPREAD_SHOWN) for name, _ in COLUMNS)
    counts = (f"<td>{values[name].mean:,.0f}</td>" for name, _ in COUNTS)
    return (
        f'<tr><td><i class="key {colour(view, baseline)}"></i>{escape(view.name)}</td>'
        f"<td>{escape(view.summary.predictor)}</td>{''.join(chain(cells, counts))}"
        f"<td>{values['prefix_hit'].mean:.0%}</td>"
        f"<td>{values['throughput_mid80_rps'].mean:.3g}</td></tr>"
    )


def _time(value: Spread, ratio: Spread | None, spread: bool) -> str:
    text = seconds(value.mean)
    if spread and len(value.values) > 1:
        text += f" <small>± {seconds(value.std)}</small>"
    if ratio:
        text += f"<br><small>&times; {ratio.mean:.2f}</small>"
    return f"<td>{text}</td>"


def _breakdown_row(group: Group, others: Iterable[PolicyView], kind: str) -> str:
    cells = "".join(_heat(group, view.groups[kind].get(group.name), view.name) for view in others)
    return (
        f"<tr><td>{escape(group.name)}</td><td>{group.n:,}</td>"
        f"<td>{seconds(group.mean_ttlt_s)}</td>{cells}</tr>"
    )


def _heat(base: Group, mine: Group | None, policy: str) -> str:
    if mine is None:
        return "<td>-</td>"
    ratio = mine.mean_ttlt_s / max(base.mean_ttlt_s, 1e-9)
    strength = 0.75 * min(1.0, abs(math.log2(max(ratio, 1e-9))) / 2)
    kind = "win" if ratio < 1 else "pay"
    title = (
        f"{policy}: mean {seconds(mine.mean_ttlt_s)} s, P99 {seconds(mine.p99_ttlt_s)} s "
        f"(baseline: mean {seconds(base.mean_ttlt_s)} s, P99 {seconds(base.p99_ttlt_s)} s)"
    )
    return (
        f'<td class="{kind}" style="--heat:{100 * strength:.0f}%" title="{escape(title)}">'
        f"&times; {ratio:.2f}</td>"
    )


def _gains(groups: dict[str, Group], view: PolicyView, kind: str) -> list[float]:
    """Ratio of each group under a policy, to sort by."""
    mine = view.groups[kind]
    return [
        mine[name].mean_ttlt_s / max(group.mean_ttlt_s, 1e-9) if name in mine else math.inf
        for name, group in groups.items()
    ]
