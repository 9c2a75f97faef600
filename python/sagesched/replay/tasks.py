"""One run: what it is, and how a worker process does it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from sagesched.replay.backend import Backend, BoundInputs, Runs, StepTimeSpec, WorkloadSpec
from sagesched.replay.cluster.config import Balance, ClusterConfig
from sagesched.replay.details import Details, details_of
from sagesched.replay.engine import EngineConfig
from sagesched.replay.result import Row, RunResult, label, summarise
from sagesched.replay.steptime import StepTime
from sagesched.replay.trace import Workload

SATURATED = (0.10, 0.75)
"""Between these quantiles of the finishing times of a batch of requests the engine is full: the
beginning has an empty engine, the end only stragglers."""


MOST_PROMPT_TOKENS = 20_000_000
"""Up to so many the lower bound looks at what prompts share, 8 bytes a token; above, it is weaker:
it takes all of every prompt for shared."""


@dataclass(frozen=True)
class Scenario:
    """What all runs of a command have in common.

    Attributes:
        workload: the requests.
        step_time: how long steps take.
        engine: the engine.
        warmup: share of the first arrivals that does not count.
        cluster: the replicas; None: one engine.
    """

    workload: WorkloadSpec
    step_time: StepTimeSpec
    engine: EngineConfig
    warmup: float = 0.0
    cluster: ClusterConfig | None = None

    def with_pool(self, pool_tokens: int) -> Scenario:
        """One engine of that pool."""
        engine = replace(self.engine, pool_tokens=pool_tokens)
        return replace(self, engine=engine, cluster=None)


@dataclass(frozen=True)
class RunTask:
    """A policy at a load on a seed.

    Attributes:
        scenario: what it runs on.
        policy: its name.
        predictor: what it knows of output lengths: shipped, law, prior, oracle or none.
        load: the arrival rate as a fraction of the saturation.
        rate_rps: the arrival rate, requests per second; None: all arrive at time 0.
        seed: of the sample.
        settings: of the policy.
        balance: how requests are sent to replicas; empty for one engine.
    """

    scenario: Scenario
    policy: str
    predictor: str
    load: float
    rate_rps: float | None
    seed: int
    settings: tuple[tuple[str, float], ...] = ()
    balance: str = ""

    def __str__(self) -> str:
        return f"{label(self.policy, self.balance)}, load {self.load:g}, seed {self.seed}"


@dataclass(frozen=True)
class SaturationTask:
    """How many requests per second the engine finishes under fcfs when it is never idle."""

    scenario: Scenario
    seed: int

    def __str__(self) -> str:
        return f"fcfs saturation, seed {self.seed}"


@dataclass(frozen=True)
class Run:
    """A row and what the report needs beside it."""

    row: Row
    details: Details


@dataclass(frozen=True)
class Saturation:
    """What a sample of requests saturates the engine at, under fcfs.

    Attributes:
        rate_rps: requests served per second.
        served: how many it was measured on.
        refused: of those that were offered: too long for the context or the pool.
    """

    rate_rps: float
    served: int
    refused: int

    @property
    def offered_rps(self) -> float:
        """Requests per second, with the share of refused ones, that keep the engine just busy."""
        return self.rate_rps * (self.served + self.refused) / self.served


def together(parts: Sequence[tuple[Saturation, float]]) -> Saturation:
    """Of replicas that were measured one by one, each so often as its share says."""
    rate = sum(found.rate_rps * share for found, share in parts)
    fewest = min((found for found, _ in parts), key=lambda found: found.served)
    return replace(fewest, rate_rps=rate)


Task = RunTask | SaturationTask
Result = Run | Saturation


def engine_of(task: Task) -> EngineConfig:
    """A worker process has one engine."""
    return task.scenario.engine


@dataclass(frozen=True)
class MakeWorker:
    """Makes a worker in a new process; sent there."""

    backend: Backend

    def __call__(self, engine: EngineConfig) -> Worker:
        """Build the engine."""
        return Worker(self.backend, self.backend.harness(engine))


class Worker:
    """Does tasks with one harness."""

    def __init__(self, backend: Backend, harness: Runs) -> None:
        self._backend = backend
        self._harness = harness
        self._workloads: dict[WorkloadSpec, Workload] = {}
        self._bounds: dict[tuple[Scenario, float | None, int], float] = {}

    def __call__(self, task: Task) -> Result:
        """Do a task."""
        return self._saturation(task) if isinstance(task, SaturationTask) else self._run(task)

    def _saturation(self, task: SaturationTask) -> Saturation:
        result = self._replay(RunTask(task.scenario, "fcfs", "none", 0.0, None, task.seed))
        return Saturation(saturation_rps(result), len(result.last_s), result.refused)

    def _run(self, task: RunTask) -> Run:
        result = self._replay(task)
        row = summarise(
            result,
            policy=task.policy,
            predictor=task.predictor,
            load=task.load,
            seed=task.seed,
            lower_bound_mean_ttlt_s=self._bound(task, result),
            skip=task.scenario.warmup,
            balance=task.balance,
        )
        details = details_of(result, task.scenario.warmup)
        if details.tenants:
            row.extra["tenants"] = [asdict(group) for group in details.tenants]
        return Run(row, details)

    def _replay(self, task: RunTask) -> RunResult:
        workload = self._workload(task.scenario.workload)
        known = task.predictor != "none"
        grid = self._harness.grid
        requests = workload.requests(seed=task.seed, rate_rps=task.rate_rps)
        common: dict[str, Any] = {
            "policy": task.policy,
            "step_time": self._backend.step_time(task.scenario.step_time),
            "predictions": self._backend.predictions(task.predictor, workload, grid)
            if known
            else None,
            "settings": dict(task.settings),
            "max_output_tokens": workload.max_output_tokens,
        }
        cluster = task.scenario.cluster
        if cluster is None or not task.balance:
            return self._harness.run(requests, **common)
        balance = Balance(task.balance)
        return self._harness.run_replicas(requests, cluster=cluster, balance=balance, **common)

    def _workload(self, spec: WorkloadSpec) -> Workload:
        """Kept, since to make one may take a look over a whole file."""
        if spec not in self._workloads:
            self._workloads[spec] = self._backend.workload(spec)
        return self._workloads[spec]

    def _bound(self, task: RunTask, result: RunResult) -> float:
        """The same for all policies on the same requests."""
        key = (task.scenario, task.rate_rps, task.seed)
        if key not in self._bounds:
            engine, step_time = self._as_one(task.scenario)
            inputs = BoundInputs(
                result=result,
                engine=engine,
                step_time=step_time,
                first_counted=first_counted(result, task.scenario.warmup),
                prompts=self._prompts(task, result),
            )
            self._bounds[key] = self._backend.lower_bound_mean_ttlt_s(inputs)
        return self._bounds[key]

    def _as_one(self, scenario: Scenario) -> tuple[EngineConfig, StepTime]:
        model = self._backend.step_time(scenario.step_time)
        if scenario.cluster is None:
            return scenario.engine, model
        return scenario.cluster.as_one(scenario.engine, model)

    def _prompts(self, task: RunTask, result: RunResult) -> list[array[int]] | None:
        """Once more from the workload; None if there are too many, or some were refused."""
        if result.refused or result.prompt_tokens.sum() > MOST_PROMPT_TOKENS:
            return None
        workload = self._workload(task.scenario.workload)
        return [r.prompt for r in workload.requests(seed=task.seed, rate_rps=task.rate_rps)]


def first_counted(result: RunResult, warmup: float) -> int:
    """Number of the first request after the warm-up, as `summarise` has it."""
    return int(warmup * len(result.arrival_s))


def saturation_rps(result: RunResult) -> float:
    """Requests per second between the quantiles ``SATURATED`` of the finishing times.

    Raises:
        RuntimeError: too few requests.
    """
    if not len(result.last_s) and result.refused:
        raise RuntimeError(
            f"all {result.refused} requests were refused: none fits the KV pool and context; "
            "use a larger --pool or --context"
        )
    ends = np.sort(result.last_s)
    first, last = (int(q * len(ends)) for q in SATURATED)
    if last <= first or not ends[last] > ends[first]:
        raise RuntimeError(
            f"{len(ends)} requests served ({result.refused} refused) are too few to measure the "
            "saturation of the engine; use more requests"
        )
    return float((last - first) / (ends[last] - ends[first]))
