"""``sagesched replay`` without SGLang: a queue with a few servers stands in for the engine."""

from __future__ import annotations

import argparse
import heapq
import os
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.replay.backend import BoundInputs, StepTimeSpec, WorkloadSpec
from sagesched.replay.cli import add_arguments
from sagesched.replay.cluster.config import Balance, ClusterConfig
from sagesched.replay.engine import EngineConfig
from sagesched.replay.policies.base import Policy
from sagesched.replay.result import RunResult, Timeline
from sagesched.replay.steptime import Step
from sagesched.replay.trace import TraceError, TraceRequest

SERVERS = 4
NASTY = "<script>alert('x')</script>"


class Fcfs(Policy):
    """Serves in order of arrival."""

    name = "fcfs"
    source = "a test"


class Shortest(Policy):
    """Serves the shortest waiting request."""

    name = "shortest"
    source = "a test"
    uses = "distribution"
    settings = {"margin": 1.0, "cap": 2.0}  # noqa: RUF012


class Oracle(Shortest):
    """The same, as a yardstick."""

    name = "oracle-shortest"
    uses = "truth"


class Raises(Policy):
    """Its runs end in an error."""

    name = "raises"
    source = "a test"


class Dies(Policy):
    """Its runs take the process with them."""

    name = "dies"
    source = "a test"


class Sleeps(Policy):
    """Its runs take very long."""

    name = "sleeps"
    source = "a test"


@dataclass(frozen=True)
class FakeStepTime:
    name: str = "a fake model"

    def seconds(self, step: Step) -> float:
        return 0.01


@dataclass
class FakeWorkload:
    n: int
    recorded_rate_rps: float | None = None
    name: str = f"fake {NASTY}"
    max_output_tokens: int = 500
    notes: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ("", "acme", f"evil {NASTY}")

    def requests(self, *, seed: int, rate_rps: float | None) -> Iterator[TraceRequest]:
        random = np.random.default_rng(seed)
        at = 0.0
        for number in range(self.n):
            if rate_rps is not None:
                at += random.exponential(1 / rate_rps)
            output = int(random.choice([10, 50, 400]))
            prompt = array("q", [1000 + number] * int(random.integers(10, 3000)))
            cluster = NASTY if output == 400 else f"c{output}"
            tenant = self.tenants[number % len(self.tenants)]
            yield TraceRequest(at, prompt, output, cluster=cluster, tenant=tenant)

    def law(self, cluster: str, grid: LengthGrid) -> LengthDistribution | None:
        return None


class FakeHarness:
    """Requests take 10 ms a token on one of four servers; nothing shares anything."""

    grid = LengthGrid(1024)

    def __init__(self, engine: EngineConfig) -> None:
        if engine.pool_tokens == 13:
            raise RuntimeError("the engine does not start with 13 tokens")
        self.engine = engine

    def run(
        self,
        requests: Iterable[TraceRequest],
        *,
        policy: str,
        step_time: Any,
        predictions: Any,
        settings: Mapping[str, float] | None,
        max_output_tokens: int,
    ) -> RunResult:
        if policy == "raises":
            raise RuntimeError("this policy cannot be run")
        if policy == "dies":
            print("last words", flush=True)
            os._exit(7)
        if policy == "sleeps":
            time.sleep(600)
        trace = list(requests)
        starts = _serve(trace, shortest="shortest" in policy)
        return _result(trace, np.array(starts), policy)

    def run_replicas(
        self,
        requests: Iterable[TraceRequest],
        *,
        cluster: ClusterConfig,
        balance: Balance,
        **more: Any,
    ) -> RunResult:
        """As if one did all, as fast as they are."""
        fast = cluster.replicas if balance.name != "random" else 1.0
        slower = [replace(one, arrival_s=one.arrival_s * fast) for one in requests]
        result = self.run(slower, **more)
        return replace(result, sent=(len(slower),) * cluster.replicas)


def _serve(trace: list[TraceRequest], shortest: bool) -> list[float]:
    free = [0.0] * SERVERS
    waiting: list[tuple[float, int]] = []
    starts = [0.0] * len(trace)
    coming = 0
    for _ in trace:
        now = heapq.heappop(free)
        if not waiting and coming < len(trace):
            now = max(now, trace[coming].arrival_s)
        while coming < len(trace) and trace[coming].arrival_s <= now:
            key = trace[coming].output_tokens if shortest else coming
            heapq.heappush(waiting, (key, coming))
            coming += 1
        _, number = heapq.heappop(waiting)
        starts[number] = now
        heapq.heappush(free, now + 0.01 * trace[number].output_tokens)
    return starts


def _result(trace: list[TraceRequest], start: Any, policy: str) -> RunResult:
    output = np.array([request.output_tokens for request in trace])
    names = tuple(dict.fromkeys(request.cluster for request in trace))
    tenants = tuple(dict.fromkeys(request.tenant for request in trace))
    zeros = np.zeros(len(trace), dtype=np.int64)
    last = start + 0.01 * output
    at = np.linspace(0, last.max(), 50)
    arrival = np.array([request.arrival_s for request in trace])
    waiting = np.array([((arrival <= t) & (start > t)).sum() for t in at])
    return RunResult(
        arrival_s=arrival,
        first_s=start + 0.01,
        last_s=last,
        max_gap_s=np.full(len(trace), 0.01),
        prompt_tokens=np.array([len(request.prompt) for request in trace]),
        output_tokens=output,
        true_tokens=output,
        cluster=np.array([names.index(request.cluster) for request in trace]),
        preemptions=zeros,
        retractions=zeros,
        clusters=names,
        tenant=np.array([tenants.index(request.tenant) for request in trace]),
        tenants=tenants,
        refused=2,
        prefill_tokens=100,
        cached_tokens=50,
        recomputed_tokens=0,
        steps=int(output.sum()),
        fallbacks=3 if policy == "shortest" else 0,
        timeline=Timeline(at, waiting, np.minimum(waiting, SERVERS), np.clip(waiting / 50, 0, 1)),
        digest=f"{last.sum():.9f}",
        wall_s=0.1,
        notes=(f"{policy} said {NASTY}",),
    )


@dataclass(frozen=True)
class FakeBackend:
    """Everything that `sagesched.replay.backend.Backend` wants."""

    recorded_rate_rps: float | None = None
    missing: str = ""
    preload: str | None = None
    notes: tuple[str, ...] = field(default=())

    def policies(self) -> Mapping[str, type[Policy]]:
        known = (Fcfs, Shortest, Oracle, Raises, Dies, Sleeps)
        return {policy.name: policy for policy in known}

    def workload(self, spec: WorkloadSpec) -> FakeWorkload:
        if spec.source == "broken":
            raise TraceError("broken:3: not a request")
        if not spec.is_file and spec.source not in ("hetero", "tiny"):
            raise ValueError(f"no workload is called {spec.source}; workloads: hetero, tiny")
        n = 1 if spec.source == "tiny" else spec.n or 200
        return FakeWorkload(n, self.recorded_rate_rps if spec.is_file else None, notes=self.notes)

    def step_time(self, spec: StepTimeSpec) -> FakeStepTime:
        if spec.gpu == "abacus":
            raise ValueError("--gpu: unknown 'abacus'; choose from h100")
        return FakeStepTime()

    def default_pool_tokens(self, spec: StepTimeSpec) -> int:
        return 4321

    def harness(self, engine: EngineConfig) -> FakeHarness:
        return FakeHarness(engine)

    def predictions(self, name: str, workload: Any, grid: LengthGrid) -> str:
        return name

    def lower_bound_mean_ttlt_s(self, asked: BoundInputs) -> float:
        first = asked.first_counted
        return float(0.01 * asked.result.output_tokens[first:].mean())

    def versions(self) -> dict[str, str]:
        if self.missing:
            raise RuntimeError(self.missing)
        return {"sagesched": "1", "sglang": "2"}


def parsed(*arguments: str) -> argparse.Namespace:
    """The flags as the command parses them."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(arguments)
