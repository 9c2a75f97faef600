"""A step-time model fitted to measured steps, and its file.

    decode:   max(floor, overhead + a * requests + b * KV tokens)
    prefill:  max(floor, overhead + c * tokens + d * attended pairs + e * requests)

All coefficients are at least 0. The floor is what a step takes however little is in it: an engine
bound by its host, or held at a pace. In a mixed step the decode rows ride along: their own cost
without a second overhead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagesched.replay.steptime import Step

FORMAT = "sagesched step time 1"
FLOOR_GAIN = 0.8
"""A floor is taken only if it cuts the squared error to this share: it costs a parameter."""
LEAST_STEP_S = 1e-6

Floats = NDArray[np.float64]
Measured = Sequence[tuple[Step, float]]
"""Steps with their durations in seconds."""


@dataclass(frozen=True)
class Line:
    """Duration of a step as a non-negative linear function, with a floor; seconds per unit."""

    floor_s: float
    overhead_s: float
    per_unit_s: tuple[float, ...]

    def seconds(self, units: Sequence[float]) -> float:
        """Duration."""
        return max(self.floor_s, self.overhead_s + self.marginal_s(units))

    def marginal_s(self, units: Sequence[float]) -> float:
        """What the units add beyond the overhead."""
        return sum(cost * unit for cost, unit in zip(self.per_unit_s, units, strict=True))


@dataclass(frozen=True)
class FitError:
    """Relative error of a fit on the steps it was fitted to, as shares."""

    steps: int
    median: float
    p95: float


@dataclass(frozen=True)
class FittedStepTime:
    """A model fitted to a running server.

    Attributes:
        name: for the report.
        decode: per request, per KV token.
        prefill: per token, per attended pair, per request.
        request_overhead_s: what a client waits beside the engine's steps: HTTP and tokenizer
            before a request reaches the scheduler, detokenizer and HTTP after its last token.
            Not part of ``seconds``.
        moved_token_s: per KV token moved between host and device; not measured, 0 unless set.
        errors: of the fit, ``decode`` and ``prefill``.
        engine: the server's settings, as far as a replay needs them.
        limits: largest measured value of each unit; beyond it the model extrapolates.
    """

    name: str
    decode: Line
    prefill: Line
    request_overhead_s: float = 0.0
    moved_token_s: float = 0.0
    errors: Mapping[str, FitError] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)

    def seconds(self, step: Step) -> float:
        """Duration of a step."""
        moved = self.moved_token_s * step.moved_kv_tokens
        if not step.prefill_tokens:
            return max(LEAST_STEP_S, self.decode.seconds(decode_units(step))) + moved
        riding = self.decode.marginal_s(decode_units(step))
        return max(LEAST_STEP_S, self.prefill.seconds(prefill_units(step))) + riding + moved

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=1)
        path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> FittedStepTime:
        """Read a file that ``save`` wrote.

        Raises:
            ValueError: it is no such file; the message says what is wrong.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values.pop("format") != FORMAT:
                raise ValueError(f"not in the format {FORMAT!r}")
            lines = {kind: _line(values.pop(kind)) for kind in ("decode", "prefill")}
            errors = {k: FitError(**v) for k, v in values.pop("errors").items()}
            model = cls(**lines, errors=errors, **values)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"{path}: not a step-time file ({type(error).__name__}: {error}); "
                "write one with: sagesched calibrate URL --json FILE"
            ) from error
        return model


def decode_units(step: Step) -> tuple[float, ...]:
    """What a decode step's duration depends on."""
    return (float(step.decode_requests), float(step.decode_kv_tokens))


def prefill_units(step: Step) -> tuple[float, ...]:
    """What a prefill step's duration depends on."""
    return (float(step.prefill_tokens), step.prefill_attention, float(step.prefill_requests))


def fit(name: str, decode: Measured, prefill: Measured) -> FittedStepTime:
    """The model with the least squared relative error.

    Raises:
        ValueError: no steps of a kind, or a duration that is not above 0.
    """
    kinds = {"decode": (decode, decode_units), "prefill": (prefill, prefill_units)}
    lines, errors, limits = {}, {}, {}
    for kind, (measured, units_of) in kinds.items():
        if not measured or not all(0 < seconds < float("inf") for _, seconds in measured):
            raise ValueError(f"{kind}: durations above 0 are needed, of one step at least")
        units = np.array([units_of(step) for step, _ in measured])
        seconds = np.array([seconds for _, seconds in measured])
        lines[kind] = fit_line(units, seconds)
        errors[kind] = _error(lines[kind], units, seconds)
        largest = units.max(axis=0).tolist()
        limits |= {f"{kind}_{i}": value for i, value in enumerate(largest)}
    names = ("decode_requests", "decode_kv_tokens")
    names += ("prefill_tokens", "prefill_attention", "prefill_requests")
    named = dict(zip(names, limits.values(), strict=True))
    return FittedStepTime(name, lines["decode"], lines["prefill"], errors=errors, limits=named)


def fit_line(units: Floats, seconds: Floats) -> Line:
    """Least squared relative error over all divisions into steps at the floor and above it.

    Args:
        units: [n, k].
        seconds: [n], above 0.
    """
    best = _without_floor(units, seconds)
    best_error = FLOOR_GAIN * _squared(best, units, seconds)
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


def _line(values: Mapping[str, Any]) -> Line:
    line = Line(values["floor_s"], values["overhead_s"], tuple(values["per_unit_s"]))
    numbers = (line.floor_s, line.overhead_s, *line.per_unit_s)
    if not all(isinstance(n, (int, float)) and 0 <= n < float("inf") for n in numbers):
        raise ValueError("coefficients must be finite numbers of at least 0")
    return line
