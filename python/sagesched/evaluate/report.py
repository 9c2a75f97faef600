"""The result as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sagesched.bench.report import table
from sagesched.evaluate.result import Result
from sagesched.evaluate.scoring import Some
from sagesched.shown import shown

MOST_PARTS = 20
"""Groups or tenants that are shown, largest first; the JSON has all."""
LONGEST_VALUE = 255

HOW = (
    "Every request was predicted when it arrived and learned after it had ended. CRPS and pinball "
    "losses in tokens, lower is better; tau is Kendall's, of the predicted mean; coverage of the "
    "central 90 % interval."
)


def markdown(result: Result) -> str:
    """All tables."""
    about = "; ".join(f"{key} {shown(value, LONGEST_VALUE)}" for key, value in result.about.items())
    parts = [f"# Length prediction\n\n{about}.\n\n{HOW}"]
    if result.notes:
        parts.append("\n".join(f"- {note}" for note in result.notes))
    parts.append(_overall(result))
    for title, found in (("group", result.by_group()), ("tenant", result.by_tenant())):
        if found:
            parts.append(f"## By {title}\n\n{_by_part(result, title, found)}")
    windows = result.windows()
    if len(windows) > 1:
        named = [(f"{window.start:,} to {window.stop - 1:,}", window) for window in windows]
        parts.append(f"## Over time\n\n{_parts(result, 'requests', named)}")
    return "\n\n".join(parts) + "\n"


def _overall(result: Result) -> str:
    rows = []
    for name, columns in result.columns.items():
        s = columns.score()
        numbers = (f"{s.crps:.1f}", f"{s.pinball50:.1f}", f"{s.pinball90:.1f}", f"{s.tau:.3f}")
        rows.append((name, *numbers, f"{s.coverage90:.3f}", s.n))
    head = ["method", "CRPS", "pinball 0.5", "pinball 0.9", "tau", "coverage 90 %", "n"]
    return table(head, rows)


def _by_part(result: Result, title: str, found: Mapping[str, Some]) -> str:
    shown = list(found.items())[:MOST_PARTS]
    text = _parts(result, title, [(_cell(name), some) for name, some in shown])
    left = len(found) - len(shown)
    return text + (f"\n\n{left} smaller ones are in the JSON." if left else "")


def _parts(result: Result, title: str, named: Iterable[tuple[str, Some]]) -> str:
    """CRPS of every method, and tau and coverage of the first one, in each part."""
    rows = []
    for name, some in named:
        scores = [columns[some].score() for columns in result.columns.values()]
        first = scores[0]
        crps = (f"{score.crps:.1f}" for score in scores)
        rows.append((name, *crps, f"{first.tau:.3f}", f"{first.coverage90:.3f}", first.n))
    methods = list(result.columns)
    last = (f"tau, {methods[0]}", f"coverage, {methods[0]}", "n")
    return table([title, *(f"CRPS, {name}" for name in methods), *last], rows)


def _cell(name: str) -> str:
    return shown(" ".join(name.replace("|", "/").split())) or "(none)"
