"""Fits a step-time model to measured steps: least squared relative error, nothing below 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from sagesched.replay.fitted import FitError, FittedStepTime, Line, decode_units, prefill_units
from sagesched.replay.steptime import Step

FLOOR_GAIN = 0.8
"""A floor is taken only if it cuts the squared error to this share: it costs a parameter."""
ROUNDING = 1e-8
"""Squared relative error per step that is none worth a floor."""

DECODE_NAMES = ("decode_requests", "decode_kv_tokens")
PREFILL_NAMES = ("prefill_tokens", "prefill_attention", "prefill_requests")

Floats = NDArray[np.float64]
Measured = Sequence[tuple[Step, float]]
"""Steps with their durations in seconds."""


def fit(name: str, decode: Measured, prefill: Measured) -> FittedStepTime:
    """The model with the least squared relative error.

    Raises:
        ValueError: no steps of a kind, or a duration that is not above 0.
    """
    decode_line, decode_error, decode_most = _fit_kind("decode", decode, decode_units)
    prefill_line, prefill_error, prefill_most = _fit_kind("prefill", prefill, prefill_units)
    return FittedStepTime(
        name,
        decode_line,
        prefill_line,
        errors={"decode": decode_error, "prefill": prefill_error},
        limits=dict(zip(DECODE_NAMES + PREFILL_NAMES, decode_most + prefill_most, strict=True)),
    )


def _fit_kind(
    kind: str, measured: Measured, units_of: Callable[[Step], tuple[float, ...]]
) -> tuple[Line, FitError, list[float]]:
    """The line of one kind of step, its error, and the largest measured value of each unit."""
    if not measured or not all(0 < seconds < float("inf") for _, seconds in measured):
        raise ValueError(f"{kind}: at least one step is needed, and durations above 0")
    units = np.array([units_of(step) for step, _ in measured])
    seconds = np.array([seconds for _, seconds in measured])
    line = fit_line(units, seconds)
    return line, _error(line, units, seconds), units.max(axis=0).tolist()


def fit_line(units: Floats, seconds: Floats) -> Line:
    """Least squared relative error over all divisions into steps at the floor and above it.

    Args:
        units: [n, k].
        seconds: [n], above 0.
    """
    best = _without_floor(units, seconds)
    best_error = FLOOR_GAIN * _squared(best, units, seconds) - ROUNDING * len(seconds)
    order = np.argsort(seconds, kind="stable")
    for count in range(2, len(order) + 1):
        low, high = order[:count], order[count:]
        floor = float(np.median(seconds[low]))
        above = _without_floor(units[high], seconds[high]) if len(high) else None
        line = replace(above, floor_s=floor) if above else Line(floor, 0.0, (0.0,) * units.shape[1])
        error = _squared(line, units, seconds)
        if error < best_error:
            best, best_error = line, error
    return best


def _without_floor(units: Floats, seconds: Floats) -> Line:
    columns = np.column_stack([np.ones(len(seconds)), units])
    overhead, *per_unit = non_negative(columns / seconds[:, None], np.ones(len(seconds))).tolist()
    return Line(0.0, overhead, tuple(per_unit))


def non_negative(matrix: Floats, target: Floats) -> Floats:
    """Least squares with coefficients of at least 0, exactly.

    The solution is the best of the unconstrained ones over subsets of columns that are feasible:
    with at most four columns there are fifteen, and no library is needed.
    """
    scale = np.maximum(np.linalg.norm(matrix, axis=0), 1e-300)
    best, best_error = np.zeros(matrix.shape[1]), float(target @ target)
    for size in range(1, matrix.shape[1] + 1):
        for chosen in map(list, combinations(range(matrix.shape[1]), size)):
            part, *_ = np.linalg.lstsq(matrix[:, chosen] / scale[chosen], target, rcond=None)
            residual = matrix[:, chosen] @ (part / scale[chosen]) - target
            error = float(residual @ residual)
            if (part >= 0).all() and error < best_error * (1 - 1e-12):
                best = np.zeros(matrix.shape[1])
                best[chosen], best_error = part / scale[chosen], error
    return best


def _relative(line: Line, units: Floats, seconds: Floats) -> Floats:
    modelled = np.maximum(line.floor_s, line.overhead_s + units @ np.array(line.per_unit_s))
    return np.asarray(modelled / seconds - 1.0, dtype=np.float64)


def _squared(line: Line, units: Floats, seconds: Floats) -> float:
    return float((_relative(line, units, seconds) ** 2).sum())


def _error(line: Line, units: Floats, seconds: Floats) -> FitError:
    off = np.abs(_relative(line, units, seconds))
    return FitError(len(off), float(np.median(off)), float(np.percentile(off, 95)))
