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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sagesched.replay.steptime import Step

FORMAT = "sagesched step time 1"
LEAST_STEP_S = 1e-6


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
        request_overhead_s: what a client waits outside the scheduler: HTTP and tokenizer before,
            detokenizer and HTTP after. Not part of ``seconds``.
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
            values["decode"] = _line(values["decode"], units=2)
            values["prefill"] = _line(values["prefill"], units=3)
            values["errors"] = {k: FitError(**v) for k, v in values["errors"].items()}
            return _checked(cls(**values))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"{path}: not a step-time file ({type(error).__name__}: {error}); "
                "write one with: sagesched calibrate URL --json FILE"
            ) from error


ENGINE_NUMBERS = {
    "pool_tokens": int, "max_running": int, "context": int, "chunk": int, "page_size": int,
    "mixed": bool, "overlap": bool, "conservativeness": float,
}  # fmt: skip


def _checked(model: FittedStepTime) -> FittedStepTime:
    if not isinstance(model.name, str):
        raise ValueError(f"name must be text, got {model.name!r}")
    for name in ("request_overhead_s", "moved_token_s"):
        value = getattr(model, name)
        if not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
            raise ValueError(f"{name} must be a finite number of at least 0, got {value!r}")
    for line, what in ((model.decode, "decode"), (model.prefill, "prefill")):
        if not any((line.floor_s, line.overhead_s, *line.per_unit_s)):
            raise ValueError(f"{what}: all coefficients are 0, so that its steps take no time")
    if not isinstance(model.engine, dict):
        raise ValueError("engine must be an object")
    for name, kind in ENGINE_NUMBERS.items():
        value = model.engine.get(name)
        wanted = (int, float) if kind is float else kind
        wrong = not isinstance(value, wanted) or (kind is not bool and isinstance(value, bool))
        if value is not None and wrong:
            raise ValueError(f"engine: {name} must be of type {kind.__name__}, got {value!r}")
    return model


def load_step_time(path: Path) -> FittedStepTime:
    """The model in a file of ``sagesched calibrate``; see ``FittedStepTime.load``."""
    return FittedStepTime.load(path)


def decode_units(step: Step) -> tuple[float, ...]:
    """What a decode step's duration depends on."""
    return (float(step.decode_requests), float(step.decode_kv_tokens))


def prefill_units(step: Step) -> tuple[float, ...]:
    """What a prefill step's duration depends on."""
    return (float(step.prefill_tokens), step.prefill_attention, float(step.prefill_requests))


def _line(values: Mapping[str, Any], units: int) -> Line:
    line = Line(values["floor_s"], values["overhead_s"], tuple(values["per_unit_s"]))
    if len(line.per_unit_s) != units:
        raise ValueError(f"{units} coefficients per unit are needed, found {len(line.per_unit_s)}")
    numbers = (line.floor_s, line.overhead_s, *line.per_unit_s)
    if not all(isinstance(n, (int, float)) and 0 <= n < float("inf") for n in numbers):
        raise ValueError("coefficients must be finite numbers of at least 0")
    return line
