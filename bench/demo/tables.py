"""The tables that the demo prints, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .report import FamilyRow, PolicyResult

POLICY_HEAD = (
    "policy",
    "mean TTLT",
    "P50",
    "P95",
    "P99",
    "mean TTFT",
    "requests/s",
    "tokens/s",
    "failed",
    "wrong length",
)


def policy_table(results: Mapping[str, PolicyResult]) -> str:
    """TTLT and TTFT in seconds, a row per policy; below each one its ratios to fcfs."""
    base = results.get("fcfs")
    rows: list[Sequence[str]] = []
    for policy, result in results.items():
        cells = [*(f"{value:.2f}" for value in _times(result)), f"{result.throughput_rps:.1f}"]
        cells += [_or_dash(result.tokens_per_s, ".0f"), str(result.failed), str(result.mismatched)]
        rows.append([policy, *cells])
        if base and policy != "fcfs":
            pairs = zip(_times(result), _times(base), strict=True)
            ratios = [_ratio(*pair) for pair in pairs]
            ratios.append(_ratio(result.throughput_rps, base.throughput_rps))
            ratios.append(_ratio(result.tokens_per_s or 0, base.tokens_per_s or 0))
            rows.append(["... / fcfs", *ratios, "", ""])
    return markdown(POLICY_HEAD, rows)


def family_table(rows: Sequence[FamilyRow]) -> str:
    """A row per task family: lengths in tokens, mean TTLT in seconds per policy."""
    policies = list(rows[0].mean_ttlt_s)
    head = ["family", "requests", "unseen", "mean", "predicted", "P50", "predicted", "in P10-P90"]
    cells = [
        [
            row.family,
            str(row.requests),
            str(row.unseen),
            f"{row.mean_tokens:.0f}",
            _or_dash(row.predicted_mean_tokens, ".0f"),
            f"{row.median_tokens:.0f}",
            _or_dash(row.predicted_median_tokens, ".0f"),
            _or_dash(row.within_p10_p90, ".0%"),
            *(f"{row.mean_ttlt_s[policy]:.2f}" for policy in policies),
        ]
        for row in rows
    ]
    return markdown([*head, *(f"TTLT {policy}" for policy in policies)], cells)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns; the first is text, the others numbers."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def line(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "| " + " | ".join(padded) + " |"

    return "\n".join([line(head), line(rule), *map(line, rows)])


def _times(result: PolicyResult) -> tuple[float, ...]:
    return (
        result.mean_ttlt_s,
        result.p50_ttlt_s,
        result.p95_ttlt_s,
        result.p99_ttlt_s,
        result.mean_ttft_s,
    )


def _ratio(value: float, base: float) -> str:
    return f"x {value / base:.2f}" if base > 0 else "-"


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
