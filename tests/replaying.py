"""Replays in processes of their own: SGLang's scheduler is built once in each, warnings and all."""

from __future__ import annotations

import multiprocessing
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from sagesched.replay.cluster.config import Balance, ClusterConfig
from sagesched.replay.engine import EngineConfig
from sagesched.replay.policies.base import Policy
from sagesched.replay.result import RunResult
from sagesched.replay.steptime import Step
from sagesched.replay.trace import TraceRequest

_harness: Any = None


@dataclass(frozen=True)
class EvenSteps:
    """A second for every step, so that schedules can be worked out by hand."""

    name: str = "a second a step"

    def seconds(self, step: Step) -> float:
        return 1.0


@dataclass(frozen=True)
class MovedTokens:
    """A second for every step and every moved token."""

    name: str = "a second a step and a moved token"

    def seconds(self, step: Step) -> float:
        return 1.0 + step.moved_kv_tokens


@dataclass(frozen=True)
class Job:
    """Arguments of ``Harness.run`` or ``run_replicas``, as they travel to the process."""

    requests: Sequence[TraceRequest]
    policy: str = "fcfs"
    predictor: str = "oracle"
    settings: Mapping[str, float] = field(default_factory=dict)
    step_time: Any = EvenSteps()
    max_output_tokens: int = 2048
    short_cut: bool = True
    cluster: ClusterConfig | None = None
    balance: Balance = field(default_factory=lambda: Balance("round_robin"))


class Raises(Policy):
    """A policy with a bug."""

    name = "raises-for-tests"
    source = "a test"

    def key(self, request: Any) -> float:
        return 1 / 0


class RaisesLater(Policy):
    """Turns the queue round, then has a bug."""

    name = "raises-later-for-tests"
    source = "a test"

    def order(self, waiting: list[Any]) -> None:
        waiting.reverse()
        raise ValueError("half-way")


def request(
    arrival_s: float, prompt: int, output: int, *, number: int = 0, **more: Any
) -> TraceRequest:
    """A request whose prompt shares nothing with those of other numbers."""
    first = 1_000 + 500 * number
    return TraceRequest(arrival_s, array("q", range(first, first + prompt)), output, **more)


@contextmanager
def replaying(
    config: EngineConfig,
    hash_seed: int | None = None,
    prepare: Callable[[], None] | None = None,
    run: Callable[[Job], Any] | None = None,
) -> Iterator[Any]:
    """A function ``run(Job) -> RunResult`` that replays with that engine.

    Args:
        config: the engine.
        hash_seed: of the process.
        prepare: called there before the scheduler is built; a function of a module.
        run: what to do with a job there; by default replay it.
    """
    context: Any = multiprocessing.get_context("spawn" if hash_seed is not None else "forkserver")
    if hash_seed is None:
        context.set_forkserver_preload(["sagesched.replay.preload"])
    with (
        pytest.MonkeyPatch.context() as patch,
        ProcessPoolExecutor(1, context, initializer=_build, initargs=(config, prepare)) as pool,
    ):
        if hash_seed is not None:  # a new process reads it when it starts
            patch.setenv("PYTHONHASHSEED", str(hash_seed))
        yield lambda job: pool.submit(run or run_job, job).result(timeout=240)


def run_gittins(
    replay: Any, requests: Sequence[TraceRequest], step_time: Any, **settings: float
) -> RunResult:
    """The shipped policy on them: each served to its last token, no error in ours."""
    found: RunResult = replay(Job(requests, "gittins", settings=settings, step_time=step_time))
    assert found.output_tokens.tolist() == [each.output_tokens for each in requests]
    assert found.fallbacks == 0
    return found


def _build(config: EngineConfig, prepare: Callable[[], None] | None) -> None:
    if prepare is not None:
        prepare()
    from sagesched.replay.harness import Harness

    global _harness
    _harness = Harness(config)


def harness() -> Any:
    """The one of this process, where jobs are run."""
    return _harness


def run_job(job: Job) -> RunResult:
    """Replay it, in the process that has the scheduler."""
    from sagesched.replay.predictors import make_predictions

    run, more = _harness.run, {"short_cut": job.short_cut}
    if job.cluster is not None:
        run, more = _harness.run_replicas, {"cluster": job.cluster, "balance": job.balance}
    result: RunResult = run(
        iter(job.requests),
        policy=job.policy,
        step_time=job.step_time,
        predictions=make_predictions(job.predictor, None, _harness.grid),  # type: ignore[arg-type]
        settings=job.settings,
        max_output_tokens=job.max_output_tokens,
        **more,
    )
    return result
