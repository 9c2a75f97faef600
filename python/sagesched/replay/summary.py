"""Rows over seeds: means with their spread, and ratios to the baseline seed by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sagesched.replay.result import Row

COMPARED = ("mean_ttlt_s", "p50_ttlt_s", "p95_ttlt_s", "p99_ttlt_s", "mean_ttft_s", "p99_ttft_s")
OTHERS = (
    "max_ttlt_s", "mean_tpot_s", "p99_tpot_s", "max_stall_s", "throughput_rps",
    "throughput_mid80_rps", "preemptions", "retractions", "recomputed_tokens", "prefix_hit",
    "lower_bound_mean_ttlt_s", "n",
)  # fmt: skip


@dataclass(frozen=True)
class Spread:
    """A quantity over seeds.

    Attributes:
        mean: over the seeds.
        std: sample standard deviation; 0 for a single seed.
        values: per seed.
    """

    mean: float
    std: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class Summary:
    """A policy at a load, over its seeds.

    Attributes:
        policy: its name, and how requests are sent to several replicas of it.
        predictor: what it knew.
        load: fraction of the saturation.
        seeds: that ended well.
        values: of every quantity in ``COMPARED`` and ``OTHERS``.
        ratios: to the baseline on the same seed, of those in ``COMPARED``; empty if the baseline
            has none of these seeds.
        refused: requests that SGLang refused, by seed.
        cut: requests whose output the context or the pool cut short, by seed.
        fallbacks: errors of the policy, over all seeds.
    """

    policy: str
    predictor: str
    load: float
    seeds: tuple[int, ...]
    values: dict[str, Spread]
    ratios: dict[str, Spread]
    refused: tuple[int, ...]
    cut: tuple[int, ...]
    fallbacks: int


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return Spread(float(np.mean(values)), std, tuple(values))


def summaries(rows: Sequence[Row], baseline: str) -> dict[float, list[Summary]]:
    """Per load, the policies in the order in which they first appear."""
    grouped: dict[float, dict[str, list[Row]]] = {}
    for row in rows:
        grouped.setdefault(row.load, {}).setdefault(row.label, []).append(row)
    return {
        load: [_summary(mine, policies.get(baseline, [])) for mine in policies.values()]
        for load, policies in grouped.items()
    }


def _summary(rows: Sequence[Row], baseline: Sequence[Row]) -> Summary:
    by_seed = {row.seed: row for row in baseline}
    pairs = [(row, by_seed[row.seed]) for row in rows if row.seed in by_seed]
    names = (*COMPARED, *OTHERS)
    return Summary(
        policy=rows[0].label,
        predictor=rows[0].predictor,
        load=rows[0].load,
        seeds=tuple(row.seed for row in rows),
        values={name: spread([float(getattr(row, name)) for row in rows]) for name in names},
        ratios={name: _ratio(pairs, name) for name in COMPARED} if pairs else {},
        refused=tuple(int(row.extra.get("refused", 0)) for row in rows),
        cut=tuple(int(row.extra.get("cut", 0)) for row in rows),
        fallbacks=sum(int(row.extra.get("fallbacks", 0)) for row in rows),
    )


def _ratio(pairs: Sequence[tuple[Row, Row]], name: str) -> Spread:
    return spread([getattr(row, name) / (getattr(base, name) or 1e-9) for row, base in pairs])
