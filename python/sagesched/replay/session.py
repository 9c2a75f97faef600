"""All runs of one command: the saturation first, then every policy, load and seed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from sagesched.replay.backend import Backend
from sagesched.replay.plan import Plan
from sagesched.replay.progress import Progress
from sagesched.replay.result import Row
from sagesched.replay.runner import WorkerPool
from sagesched.replay.tasks import (
    MakeWorker,
    Result,
    Run,
    RunTask,
    Saturation,
    SaturationTask,
    Task,
    engine_of,
)


class SaturationError(RuntimeError):
    """Nothing can be compared; the message says why."""


@dataclass
class Session:
    """What a command found.

    Attributes:
        plan: what was asked for.
        saturation: of the engine under fcfs.
        runs: those that ended well, in the order of the plan, whatever order they ended in.
        failures: a line for each that did not.
        interrupted: stopped by Ctrl-C: runs are missing.
        wall_s: real seconds it took.
    """

    plan: Plan
    saturation: Saturation
    runs: list[Run] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    interrupted: bool = False
    wall_s: float = 0.0

    @property
    def rows(self) -> list[Row]:
        """The rows of ``--json``."""
        return [run.row for run in self.runs]


def replay(plan: Plan, backend: Backend, progress: Progress | None = None) -> Session:
    """Do everything that the plan says.

    Raises:
        SaturationError: the first run, that all others need, did not work.
        KeyboardInterrupt: before that run had ended; later, what has ended is returned.
    """
    start = time.monotonic()
    progress = progress or Progress()
    pool: WorkerPool[Task, Result] = WorkerPool(
        MakeWorker(backend), engine_of, plan.jobs, backend.preload
    )
    with pool:
        pool.warm_up(plan.scenario.engine, plan.run_count)
        session = Session(plan, _saturation(pool, plan, progress))
        tasks = list(run_tasks(plan, session.saturation))
        ended: dict[int, Run] = {}
        progress.start(len(tasks))
        try:
            for outcome in pool.run(tasks):
                progress.ended(str(outcome.task), outcome.error)
                if isinstance(outcome.result, Run):
                    ended[outcome.index] = outcome.result
                else:
                    session.failures.append(f"{outcome.task}: {outcome.error}")
        except KeyboardInterrupt:
            session.interrupted = True
        finally:
            progress.close()
    session.runs = [ended[index] for index in sorted(ended)]
    session.failures.sort()
    session.wall_s = time.monotonic() - start
    return session


def run_tasks(plan: Plan, saturation: Saturation) -> Iterator[RunTask]:
    """By load, then seed, then policy: a load's rows are complete as early as possible."""
    loads = plan.loads
    rates = [load * saturation.rate_rps for load in loads]
    if not loads:
        assert plan.recorded_rate_rps is not None  # make_plan saw to it
        rates = [plan.recorded_rate_rps]
        # Digits, not decimals: tables show the rate again as load times saturation.
        loads = (float(f"{plan.recorded_rate_rps / saturation.rate_rps:.6g}"),)
    for load, rate in zip(loads, rates, strict=True):
        for seed in plan.seeds:
            for policy in plan.policies:
                yield RunTask(
                    scenario=plan.scenario,
                    policy=policy,
                    predictor=plan.predictors[policy],
                    load=load,
                    rate_rps=rate,
                    seed=seed,
                    settings=plan.policy_settings[policy],
                )


def _saturation(pool: WorkerPool[Task, Result], plan: Plan, progress: Progress) -> Saturation:
    progress.say("starting SGLang's scheduler and measuring the saturation under fcfs")
    outcomes = list(pool.run([SaturationTask(plan.scenario, plan.seeds[0])]))
    result = outcomes[0].result
    if not isinstance(result, Saturation):
        raise SaturationError(outcomes[0].error)
    return result
