"""Where ``sagesched replay`` gets its parts from; tests put simple ones in their place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sagesched.lengths import LengthGrid
from sagesched.replay.engine import EngineConfig
from sagesched.replay.result import RunResult
from sagesched.replay.steptime import StepTime
from sagesched.replay.trace import TraceRequest, Workload

if TYPE_CHECKING:
    from sagesched.replay.policies.base import Policy


@dataclass(frozen=True)
class WorkloadSpec:
    """Which requests: ``make_workload``'s arguments.

    Attributes:
        source: a file, or the name of a generator.
        is_file: which of the two.
        n: requests to generate; of a file, the most to read, 0 for all.
        fmt: of a file; empty: found from its content.
        arrivals: how generated requests arrive.
    """

    source: str
    is_file: bool
    n: int
    fmt: str = ""
    arrivals: str = "poisson"


@dataclass(frozen=True)
class StepTimeSpec:
    """Which step-time model: a calibrated one from a file, or else a preset."""

    model: str = ""
    gpu: str = ""
    file: str = ""


class Runs(Protocol):
    """What a worker asks of a harness."""

    grid: LengthGrid

    def run(
        self,
        requests: Iterable[TraceRequest],
        *,
        policy: str,
        step_time: StepTime,
        predictions: Any,
        settings: Mapping[str, float] | None,
        max_output_tokens: int,
    ) -> RunResult:
        """Replay a trace under a policy."""
        ...


class Backend(Protocol):
    """The parts; an object that can be sent to a worker process."""

    def policies(self) -> Mapping[str, type[Policy]]:
        """All policies by name."""
        ...

    def workload(self, spec: WorkloadSpec) -> Workload:
        """Raises ValueError for what cannot be made."""
        ...

    def step_time(self, spec: StepTimeSpec) -> StepTime:
        """Raises ValueError for what cannot be made."""
        ...

    def default_pool_tokens(self, spec: StepTimeSpec) -> int:
        """The KV pool that fits beside the model, tokens."""
        ...

    def harness(self, engine: EngineConfig) -> Runs:
        """The engine; once per process."""
        ...

    def predictions(self, name: str, workload: Workload, grid: LengthGrid) -> Any:
        """A fresh predictor."""
        ...

    def lower_bound_mean_ttlt_s(
        self, result: RunResult, engine: EngineConfig, step_time: StepTime
    ) -> float:
        """No schedule of the requests served has a smaller mean, seconds."""
        ...

    def versions(self) -> dict[str, str]:
        """Of the packages that decide the result; raises RuntimeError if one is missing."""
        ...


class RealBackend:
    """The parts that ship; each is imported where it is needed."""

    def policies(self) -> Mapping[str, type[Policy]]:
        """The registry."""
        from sagesched.replay.policies.registry import POLICIES

        return POLICIES

    def workload(self, spec: WorkloadSpec) -> Workload:
        """A reader or generator."""
        from sagesched.replay.workloads import make_workload

        source = Path(spec.source) if spec.is_file else spec.source
        return make_workload(source, n=spec.n, fmt=spec.fmt or None, arrivals=spec.arrivals)

    def step_time(self, spec: StepTimeSpec) -> StepTime:
        """Calibrated or preset."""
        if spec.file:
            from sagesched.replay.fitted import load_step_time

            return load_step_time(Path(spec.file))
        from sagesched.replay.presets import preset

        return preset(spec.model, spec.gpu)

    def default_pool_tokens(self, spec: StepTimeSpec) -> int:
        """What the GPU's memory leaves; unknown for a calibrated model, so the engine's default."""
        if spec.file:
            return EngineConfig().pool_tokens
        from sagesched.replay.presets import GPUS, MODELS, default_pool_tokens

        tokens = default_pool_tokens(MODELS[spec.model], GPUS[spec.gpu])
        return tokens - tokens % 1000 if tokens >= 1000 else tokens

    def harness(self, engine: EngineConfig) -> Runs:
        """SGLang's scheduler."""
        from sagesched.replay.harness import Harness

        return Harness(engine)

    def predictions(self, name: str, workload: Workload, grid: LengthGrid) -> Any:
        """By name."""
        from sagesched.replay.predictors import make_predictions

        return make_predictions(name, workload, grid)

    def lower_bound_mean_ttlt_s(
        self, result: RunResult, engine: EngineConfig, step_time: StepTime
    ) -> float:
        """Of the requests that were served."""
        from sagesched.replay.bound import lower_bound_mean_ttlt_s

        return lower_bound_mean_ttlt_s(
            result.arrival_s,
            result.prompt_tokens,
            result.true_tokens,
            pool_tokens=engine.pool_tokens,
            slots=engine.max_running,
            step_time=step_time,
        )

    def versions(self) -> dict[str, str]:
        """From the packages' metadata: importing SGLang takes seconds and is for the workers."""
        try:
            sglang = version("sglang")
        except PackageNotFoundError:
            raise RuntimeError(
                "a replay runs SGLang's own scheduler, and SGLang is not installed here: "
                "pip install sglang==0.5.23"
            ) from None
        from sagesched._version import __version__

        return {"sagesched": __version__, "sglang": sglang}
