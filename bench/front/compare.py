"""Ratios to fcfs, and which position of our dial beats a published policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import le
from statistics import mean, stdev

from bench.front.rows import (
    ALMOST_FCFS,
    DIALS,
    MORE_DIALS,
    NO_ANCHOR,
    PUBLISHED_NAMES,
    TOLD,
    Line,
    Setting,
)
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
    the lowest mean without a longer tail, or else the shortest tail. Both figures are of the seeds
    that both have.
    """
    names = ("mean_ttlt_s", "p99_ttlt_s")
    rows = {line: rows_of(setting, line) for line in setting.lines}
    dials = {line.name for line in (*DIALS, ALMOST_FCFS, *MORE_DIALS, NO_ANCHOR)}
    main = setting.lines[1].predictor  # a setting's first line of ours knows what the setting is of
    mine = [line for line in rows if line.name in dials and line.predictor == main and rows[line]]
    for other in setting.lines:
        if other.name not in PUBLISHED_NAMES or not rows[other]:
            continue
        told = next(iter(rows[other].values())).predictor == "oracle"
        found: dict[Line, tuple[list[float], list[float]]] = {}  # ours, theirs, in the same seeds
        for line in TOLD if told else mine:
            triples = [
                (rows[line][seed], rows[other][seed], base)
                for seed, base in rows[setting.baseline].items()
                if seed in rows.get(line, ()) and seed in rows[other]
            ]
            if triples:
                found[line] = (
                    [
                        mean(getattr(a, x) / getattr(base, x) for a, _, base in triples)
                        for x in names
                    ],
                    [
                        mean(getattr(b, x) / getattr(base, x) for _, b, base in triples)
                        for x in names
                    ],
                )
        if not found:
            continue
        better = [x for x, (a, b) in found.items() if all(map(le, a, b))]
        short = [x for x, (a, b) in found.items() if a[1] <= b[1]]  # no longer tail
        if better or short:
            best = min(better or short, key=lambda x: found[x][0][0])
        else:
            best = min(found, key=lambda x: found[x][0][1])
        ours, theirs = found[best]
        verdict = "yes" if better else "**no**"
        yield (
            f"| {other.name} | {theirs[0]:.3f} at {theirs[1]:.3f} | {verdict} | {best.name} | "
            f"{ours[0]:.3f} at {ours[1]:.3f} |"
        )
