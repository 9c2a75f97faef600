"""Do the runs that are not in the store yet, until the budget is spent."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import groupby
from pathlib import Path

from bench.replay.cells import STEP_TIME, Cell, Planned
from bench.replay.checked import MakeCheckedWorker
from bench.replay.machine import Origin
from bench.replay.store import Entry, Key, Store
from sagesched.replay.backend import Backend
from sagesched.replay.progress import Progress
from sagesched.replay.runner import WorkerPool
from sagesched.replay.tasks import Result, Run, RunTask, Saturation, SaturationTask, Task, engine_of

PREDICTOR = "shipped"


@dataclass
class Comparison:
    """What is to be compared, and what was found so far.

    Attributes:
        planned: the runs, the most important first.
        n: requests a run.
        data: folder with recorded traces.
        origin: code and machine.
        store: what is finished.
        failures: a line for each run that did not end well.
    """

    planned: Sequence[Planned]
    n: int
    data: Path
    origin: Origin
    store: Store
    failures: list[str] = field(default_factory=list)

    def key(self, run: Planned) -> Key:
        """Everything that decides a run's result."""
        return {
            **self._cell_key(run.cell, run.policy),
            "policy": run.policy,
            "predictor": PREDICTOR,
            "load": run.load,
            "seed": run.seed,
        }

    def found(self, run: Planned) -> Entry | None:
        """Its entry, if it is finished."""
        return self.store.get(self.key(run))

    def saturation_key(self, cell: Cell, seed: int) -> Key:
        """Everything that decides a saturation."""
        return {**self._cell_key(cell, "fcfs"), "saturation_seed": seed}

    def saturation(self, cell: Cell, seed: int) -> Saturation | None:
        """Under fcfs, of a seed's own requests, if it is measured."""
        entry = self.store.get(self.saturation_key(cell, seed))
        if entry is None:
            return None
        return Saturation(*(entry[part.name] for part in fields(Saturation)))

    def saturations_rps(self, cell: Cell) -> list[float]:
        """Of all seeds that are measured."""
        seeds = sorted({run.seed for run in self.planned})
        found = [self.saturation(cell, seed) for seed in seeds]
        return [one.offered_rps for one in found if one is not None]

    def _cell_key(self, cell: Cell, policy: str) -> Key:
        scenario = cell.scenario(self.n, self.data)
        return {
            "workload": cell.workload,
            "n": self.n,
            "engine": asdict(scenario.engine),
            "step_time": f"{STEP_TIME.model}, {STEP_TIME.gpu}",
            "warmup": scenario.warmup,
            "code": self.origin.codes[policy],
            "sglang": self.origin.sglang,
        }


def compare(
    comparison: Comparison, backend: Backend, *, budget_s: float, jobs: int, progress: Progress
) -> None:
    """Do what is missing. No run is started after the budget is spent, and those under way are
    given up then, as soon as one of them ends."""
    deadline = time.monotonic() + budget_s
    pool = WorkerPool[Task, Result](MakeCheckedWorker(backend), engine_of, jobs, backend.preload)
    with pool:
        for _, group in groupby(comparison.planned, key=lambda run: run.rank):
            runs = list(group)
            for work in (_saturations, _runs):
                if time.monotonic() < deadline:
                    _do(comparison, pool, list(work(comparison, backend, runs)), deadline, progress)


def _do(
    comparison: Comparison,
    pool: WorkerPool[Task, Result],
    work: Sequence[tuple[Task, Key]],
    deadline: float,
    progress: Progress,
) -> None:
    progress.start(len(work))
    for outcome in pool.run([task for task, _ in work]):
        key = work[outcome.index][1]
        name = f"{key['workload']}, {outcome.task}"
        progress.ended(name, outcome.error)
        if outcome.result is None:
            comparison.failures.append(f"{name}: {outcome.error}")
        else:
            found = _as_json(outcome.result, outcome.seconds)
            comparison.store.add(key, {**found, "commit": comparison.origin.commit})
        if time.monotonic() > deadline:
            break
    progress.close()


def _saturations(
    comparison: Comparison, backend: Backend, runs: Sequence[Planned]
) -> Iterator[tuple[Task, Key]]:
    del backend
    missing = [(run.cell, run.seed) for run in runs if comparison.found(run) is None]
    for cell, seed in dict.fromkeys(missing):
        if comparison.saturation(cell, seed) is None:
            scenario = cell.scenario(comparison.n, comparison.data)
            yield SaturationTask(scenario, seed), comparison.saturation_key(cell, seed)


def _runs(
    comparison: Comparison, backend: Backend, runs: Sequence[Planned]
) -> Iterator[tuple[Task, Key]]:
    policies = backend.policies()
    for run in runs:
        saturation = comparison.saturation(run.cell, run.seed)
        if saturation is None or comparison.found(run) is not None:
            continue
        task = RunTask(
            scenario=run.cell.scenario(comparison.n, comparison.data),
            policy=run.policy,
            predictor=policies[run.policy].knows(PREDICTOR),
            load=run.load,
            rate_rps=run.load * saturation.offered_rps,
            seed=run.seed,
        )
        yield task, comparison.key(run)


def _as_json(result: Result, seconds: float) -> Entry:
    if isinstance(result, Run):
        return {"row": asdict(result.row), "wall_s": round(seconds, 2)}
    assert isinstance(result, Saturation)
    return {**asdict(result), "wall_s": round(seconds, 2)}
