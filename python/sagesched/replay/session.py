"""All runs of one command: the saturation first, then every policy, load and seed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from statistics import mean

from sagesched.replay.backend import Backend
from sagesched.replay.plan import Plan
from sagesched.replay.progress import Progress
from sagesched.replay.result import Row, label
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
    together,
)


class SaturationError(RuntimeError):
    """Nothing can be compared; the message says why."""


@dataclass
class Session:
    """What a command found.

    Attributes:
        plan: what was asked for.
        saturations: of the engine under fcfs, by seed: the work in two samples of a heavy-tailed
            law differs, and load 1 must be the same for both.
        runs: those that ended well, in the order of the plan, whatever order they ended in.
        failures: a line for each that did not.
        interrupted: stopped by Ctrl-C: runs are missing.
        wall_s: real seconds it took.
    """

    plan: Plan
    saturations: Mapping[int, Saturation]
    runs: list[Run] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    interrupted: bool = False
    wall_s: float = 0.0

    @property
    def saturation_rps(self) -> float:
        """Mean over the seeds, of the requests offered."""
        return mean_rps(self.saturations)

    @property
    def served(self) -> int:
        """Fewest requests that a saturation was measured on."""
        return min(found.served for found in self.saturations.values())

    @property
    def offered(self) -> int:
        """Requests of a sample."""
        return max(found.served + found.refused for found in self.saturations.values())

    @property
    def rows(self) -> list[Row]:
        """The rows of ``--json``."""
        return [run.row for run in self.runs]


def replay(plan: Plan, backend: Backend, progress: Progress | None = None) -> Session:
    """Do everything that the plan says.

    Raises:
        SaturationError: one of the first runs, that all others need, did not work.
        KeyboardInterrupt: before these had ended; later, what has ended is returned.
    """
    start = time.monotonic()
    progress = progress or Progress()
    pool: WorkerPool[Task, Result] = WorkerPool(
        MakeWorker(backend), engine_of, plan.jobs, backend.preload
    )
    with pool:
        pool.warm_up(plan.scenario.engine, plan.run_count)
        session = Session(plan, _saturations(pool, plan, progress))
        tasks = list(run_tasks(plan, session.saturations))
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


def run_tasks(plan: Plan, saturations: Mapping[int, Saturation]) -> Iterator[RunTask]:
    """By load, then seed, then policy: a load's rows are complete as early as possible."""
    loads, recorded = plan.loads, plan.recorded_rate_rps
    if not loads:
        assert recorded is not None  # make_plan saw to it
        # Digits, not decimals: tables show the rate again as load times saturation.
        loads = (float(f"{recorded / mean_rps(saturations):.6g}"),)
    for load in loads:
        for seed in plan.seeds:
            rate = load * saturations[seed].offered_rps if plan.loads else recorded
            for policy, balance in product(plan.policies, plan.balances):
                yield RunTask(
                    scenario=plan.scenario,
                    policy=policy,
                    predictor=plan.predictors[label(policy, balance)],
                    load=load,
                    rate_rps=rate,
                    seed=seed,
                    settings=plan.policy_settings[policy],
                    balance=balance,
                )


def mean_rps(saturations: Mapping[int, Saturation]) -> float:
    """Mean over the seeds, of the requests offered."""
    return mean(found.offered_rps for found in saturations.values())


def _saturations(
    pool: WorkerPool[Task, Result], plan: Plan, progress: Progress
) -> dict[int, Saturation]:
    progress.say("starting SGLang's scheduler and measuring the saturation under fcfs")
    scenario = plan.scenario
    shares = scenario.cluster.shares() if scenario.cluster else {scenario.engine.pool_tokens: 1.0}
    tasks = [
        SaturationTask(scenario.with_pool(pool), seed) for pool in shares for seed in plan.seeds
    ]
    found: dict[int, list[tuple[Saturation, float]]] = {seed: [] for seed in plan.seeds}
    for outcome in pool.run(tasks):
        if not isinstance(outcome.result, Saturation):
            raise SaturationError(outcome.error)
        share = shares[outcome.task.scenario.engine.pool_tokens]
        found[outcome.task.seed].append((outcome.result, share))
    return {seed: together(parts) for seed, parts in found.items()}
