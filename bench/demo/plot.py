"""The plot: how TTLT is spread under each policy, and its mean and P99."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .client import Outcome
from .report import PolicyResult

# Okabe and Ito's palette, told apart with every kind of colour vision; fcfs is grey.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
FCFS_COLOUR = "#666666"
LINES = ("-", "--", "-.", ":")


def save_plot(
    file: Path,
    title: str,
    runs: Mapping[str, Sequence[Outcome]],
    results: Mapping[str, PolicyResult],
) -> None:
    """Write a PNG, creating its folder.

    Raises:
        ImportError: matplotlib is missing.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 4.4), width_ratios=(3, 2), layout="constrained"
    )
    try:
        colours = _colours(list(results))
        _draw_distribution(left, runs, colours)
        _draw_bars(right, results, colours)
        figure.suptitle(title, fontsize=11)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=150, format="png")
    finally:
        plt.close(figure)


def _colours(policies: Sequence[str]) -> dict[str, str]:
    others = [policy for policy in policies if policy != "fcfs"]
    chosen = {policy: COLOURS[i % len(COLOURS)] for i, policy in enumerate(others)}
    return {policy: chosen.get(policy, FCFS_COLOUR) for policy in policies}


def _draw_distribution(
    axes: Any, runs: Mapping[str, Sequence[Outcome]], colours: Mapping[str, str]
) -> None:
    for i, (policy, outcomes) in enumerate(runs.items()):
        waits = np.sort([max(o.ttlt, 1e-3) for o in outcomes if o.error is None])
        share = np.arange(1, len(waits) + 1) / max(1, len(waits))
        style = {"color": colours[policy], "linestyle": LINES[i % len(LINES)]}
        axes.plot(waits, share, label=policy, linewidth=2, **style)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(0, 1)
    axes.set_xlabel("time to the last token (TTLT), seconds")
    axes.set_ylabel("share of requests finished within")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


def _draw_bars(axes: Any, results: Mapping[str, PolicyResult], colours: Mapping[str, str]) -> None:
    width = 0.8 / len(results)
    for i, (policy, result) in enumerate(results.items()):
        values = (result.mean_ttlt_s, result.p99_ttlt_s)
        places = [group + (i + 0.5) * width - 0.4 for group in range(len(values))]
        bars = axes.bar(places, values, width * 0.92, label=policy, color=colours[policy])
        axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=9)
    axes.set_xticks([0, 1], ["mean TTLT", "P99 TTLT"])
    axes.set_ylabel("seconds")
    axes.margins(y=0.12)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
