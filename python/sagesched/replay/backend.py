"""Where ``sagesched replay`` gets its parts from; tests put simple ones in their place."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sagesched.lengths import LengthGrid
from sagesched.replay.cluster.config import Balance, ClusterConfig
from sagesched.replay.engine import EngineConfig
from sagesched.replay.result import RunResult
from sagesched.replay.steptime import StepTime, as_scheduled
from sagesched.replay.trace import TraceRequest, Workload

if TYPE_CHECKING:
    from sagesched.replay.policies.base import Policy


@dataclass(frozen=True)
class WorkloadSpec:
    """Which requests: ``make_workload``'s arguments.

    Attributes:
        source: a file, or the name of a generator.
        is_file: which of the two.
        n: requests to generate, or the first so many of a file; None: its default, or all.
        fmt: of a file; None: found from its content.
        arrivals: how requests arrive; None: as recorded, or Poisson.
        content: the file of turns for the generator ``chat``.
    """

    source: str
    is_file: bool
    n: int | None = None
    fmt: str | None = None
    arrivals: str | None = None
    content: str | None = None


@dataclass(frozen=True)
class StepTimeSpec:
    """Which step-time model: a calibrated one from a file, or else a preset."""

    model: str = ""
    gpu: str = ""
    file: str = ""


@dataclass(frozen=True)
class BoundInputs:
    """What the lower bound is computed from.

    Attributes:
        result: a run; all policies have the same requests.
        engine: the engine.
        step_time: its step times.
        first_counted: number of the first request after the warm-up.
        prompts: of all requests in the result; None: too many, or not known.
    """

    result: RunResult
    engine: EngineConfig
    step_time: StepTime
    first_counted: int
    prompts: Sequence[array[int]] | None


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

    def run_replicas(
        self,
        requests: Iterable[TraceRequest],
        *,
        cluster: ClusterConfig,
        balance: Balance,
        policy: str,
        step_time: StepTime,
        predictions: Any,
        settings: Mapping[str, float] | None,
        max_output_tokens: int,
    ) -> RunResult:
        """Replay a trace over several replicas."""
        ...


class Backend(Protocol):
    """The parts; an object that can be sent to a worker process.

    Attributes:
        preload: module to import before worker processes are made; None: no need.
    """

    preload: str | None

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

    def lower_bound_mean_ttlt_s(self, asked: BoundInputs) -> float:
        """No schedule of the requests served has a smaller mean, seconds."""
        ...

    def versions(self) -> dict[str, str]:
        """Of the packages that decide the result; raises RuntimeError if one is missing."""
        ...


class RealBackend:
    """The parts that ship; each is imported where it is needed."""

    preload: str | None = "sagesched.replay.preload"

    def policies(self) -> Mapping[str, type[Policy]]:
        """The registry."""
        from sagesched.replay.policies.registry import all_policies

        return all_policies()

    def workload(self, spec: WorkloadSpec) -> Workload:
        """A reader or generator."""
        from sagesched.replay.workloads import make_workload

        source = Path(spec.source) if spec.is_file else spec.source
        return make_workload(
            source, n=spec.n, fmt=spec.fmt, arrivals=spec.arrivals, content=spec.content
        )

    def step_time(self, spec: StepTimeSpec) -> StepTime:
        """Calibrated or preset."""
        if spec.file:
            from sagesched.replay.fitted import FittedStepTime

            return FittedStepTime.load(Path(spec.file))
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

    def lower_bound_mean_ttlt_s(self, asked: BoundInputs) -> float:
        """Of the requests that count."""
        from sagesched.replay.bound import lower_bound_mean_ttlt_s, shared_prefix_tokens

        result, first = asked.result, asked.first_counted
        shared = None if asked.prompts is None else shared_prefix_tokens(asked.prompts)[first:]
        return lower_bound_mean_ttlt_s(
            result.arrival_s[first:],
            result.prompt_tokens[first:],
            result.output_tokens[first:],
            pool_tokens=asked.engine.pool_tokens,
            slots=asked.engine.max_running,
            step_time=as_scheduled(asked.step_time, asked.engine.overlap),
            shared_prefix_tokens=shared,
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
