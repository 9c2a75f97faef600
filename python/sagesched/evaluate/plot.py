"""The result as a picture of four plots; needs Matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sagesched.evaluate.result import LEVELS, PIT_BINS, Result


def plot(result: Result, file: Path) -> None:
    """CRPS and coverage over time, calibration: PIT histogram and quantiles."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7.5), layout="constrained")
    _crps(result, axes[0, 0])
    _coverage(result, axes[0, 1])
    _pit(result, axes[1, 0])
    _quantiles(result, axes[1, 1])
    for one in axes.flat:
        one.grid(alpha=0.3)
        one.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(frameon=False)
    # Without the version in it the same result gives the same file.
    figure.savefig(file, dpi=100, metadata={"Software": None} if file.suffix == ".png" else None)
    pyplot.close(figure)


def _crps(result: Result, axes: Any) -> None:
    middles = [(window.start + window.stop) / 2 for window in result.windows()]
    for name, columns in result.columns.items():
        scores = [columns.crps[window].mean() for window in result.windows()]
        axes.plot(middles, scores, marker="o", markersize=3, label=name)
    axes.set(title="CRPS over time (lower is better)", xlabel="request", ylabel="tokens")
    axes.set_ylim(bottom=0)


def _coverage(result: Result, axes: Any) -> None:
    middles = [(window.start + window.stop) / 2 for window in result.windows()]
    for columns in result.columns.values():
        covered = [columns[window].score().coverage90 for window in result.windows()]
        axes.plot(middles, covered, marker="o", markersize=3)
    axes.axhline(0.9, color="0.4", linewidth=1, linestyle="--")
    axes.set(title="Coverage of the 90 % interval over time", xlabel="request", ylim=(0.0, 1.02))


def _pit(result: Result, axes: Any) -> None:
    edges = np.linspace(0.0, 1.0, PIT_BINS + 1)
    for number, columns in enumerate(result.columns.values()):
        axes.stairs(columns.pit(PIT_BINS), edges, linewidth=1.5, baseline=None, color=f"C{number}")
    axes.axhline(1.0, color="0.4", linewidth=1, linestyle="--")
    axes.set(title="PIT: where lengths stand in their predictions", xlabel="predicted probability "
             "of a shorter one", ylabel="density", xlim=(0, 1))  # fmt: skip
    axes.set_ylim(bottom=0)


def _quantiles(result: Result, axes: Any) -> None:
    axes.plot([0, 1], [0, 1], color="0.4", linewidth=1, linestyle="--")
    for columns in result.columns.values():
        axes.plot(LEVELS, columns.reached(LEVELS), marker="o", markersize=3)
    axes.set(title="Reliability of the quantiles", xlabel="predicted quantile",
             ylabel="share of lengths up to it", xlim=(0, 1), ylim=(0, 1))  # fmt: skip
