"""What is to be reached, line by line, and whether it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from statistics import mean

from bench.front.rows import FIELDS, PARKED_S, Line, Setting
from sagesched.replay.result import Row

RATE, LEAST_RATE = "throughput_mid80_rps", 0.98
EVERYWHERE = (("mean TPOT", 1.15), ("P99 TPOT", 1.5))
"""At most, of our policy in every setting where no other target is given; completions per second at
least `LEAST_RATE`, and no stream may stand still for longer than its flag says."""


def verdicts(
    rows_of: Callable[[Setting, Line], Mapping[int, Row]], setting: Setting
) -> Iterator[str]:
    """Rows of a Markdown table: our lines with a target, asked and found, ratios to fcfs."""
    base = rows_of(setting, setting.baseline)
    for line in setting.lines:
        if line.policy != "gittins":
            continue
        rows = {seed: row for seed, row in rows_of(setting, line).items() if seed in base}
        if not rows:
            continue
        asked = setting.targets.get(line)
        if asked:
            yield _row(line, dict(EVERYWHERE) | dict(asked), rows, base)


def _row(
    line: Line, asked: Mapping[str, float], rows: Mapping[int, Row], base: Mapping[int, Row]
) -> str:
    cells, missed = [], []
    for name, most in asked.items():
        found = _mean_ratio(FIELDS[name], rows, base)
        cells.append(f"{name} {found:.3f} of {most:g}")
        if found > most:
            missed.append(name)
    rate = _mean_ratio(RATE, rows, base)
    cells.append(f"rate {rate:.3f}, at least {LEAST_RATE:g}")
    if rate < LEAST_RATE:
        missed.append("rate")
    stall, flag = max(row.max_stall_s for row in rows.values()), _flag_s(line)
    cells.append(f"longest stall {stall:.2g} s of {flag:g}")
    if stall > flag:
        missed.append("stall")
    verdict = "yes" if not missed else f"**no**: {', '.join(missed)}"
    knows = next(iter(rows.values())).predictor
    return f"| {line.name} | {knows} | {'; '.join(cells)} | {verdict} | {len(rows)} |"


def _flag_s(line: Line) -> float:
    return dict(line.settings).get("parked_s", PARKED_S)


def _mean_ratio(field: str, rows: Mapping[int, Row], base: Mapping[int, Row]) -> float:
    return float(
        mean(getattr(row, field) / getattr(base[seed], field) for seed, row in rows.items())
    )
