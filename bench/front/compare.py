"""Ratios to fcfs, and which position of our dial beats a published policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import le
from statistics import mean, stdev

from bench.front.rows import DIALS, MORE_DIALS, NO_ANCHOR, PUBLISHED_NAMES, TOLD, Line, Setting
from sagesched.replay.result import Row


def ratio(pairs: Sequence[tuple[Row, Row]], name: str, digits: int) -> str:
    """Mean over seeds, with its spread where digits allow."""
    values = [getattr(row, name) / getattr(other, name) for row, other in pairs]
    spread = f" ± {stdev(values):.2f}" if len(values) > 1 and digits > 2 else ""
    return f"{mean(values):.{digits}f}{spread}"


def beaten(
    rows_of: Callable[[Setting, Line], Mapping[int, Row]], setting: Setting
) -> Iterator[str]:
    """Of each published policy, the position of our dial that is better in mean and tail.

    Who is told true lengths meets ours that are told them, too; all others meet ours that know what
    the setting is of: the laws, or what the shipped predictor has learned. Where none is better:
    the lowest mean without a longer tail, or else the shortest tail.
    """
    names = ("mean_ttlt_s", "p99_ttlt_s")
    rows = {line: rows_of(setting, line) for line in setting.lines}
    dials = {line.name for line in (*DIALS, *MORE_DIALS, NO_ANCHOR)}
    main = setting.lines[1].predictor  # a setting's first line of ours knows what the setting is of
    mine = [line for line in rows if line.name in dials and line.predictor == main and rows[line]]
    for other in setting.lines:
        if other.name not in PUBLISHED_NAMES or not rows[other]:
            continue
        told = next(iter(rows[other].values())).predictor == "oracle"
        figures = {}
        for line in (other, *(TOLD if told else mine)):
            if line not in rows:
                continue
            seeds = rows[line].keys() & rows[other].keys() & rows[setting.baseline].keys()
            pairs = [(rows[line][seed], rows[setting.baseline][seed]) for seed in seeds]
            if pairs:
                figures[line] = [
                    mean(getattr(a, x) / getattr(b, x) for a, b in pairs) for x in names
                ]
        wanted = figures.pop(other, None)
        if wanted is None or not figures:
            continue
        better = [x for x, found in figures.items() if all(map(le, found, wanted))]
        short = [x for x, found in figures.items() if found[1] <= wanted[1]]  # no longer tail
        if better or short:
            best = min(better or short, key=lambda x: figures[x][0])
        else:
            best = min(figures, key=lambda x: figures[x][1])
        found = figures[best]
        verdict = "yes" if better else "**no**"
        yield (
            f"| {other.name} | {wanted[0]:.3f} at {wanted[1]:.3f} | {verdict} | {best.name} | "
            f"{found[0]:.3f} at {found[1]:.3f} |"
        )
