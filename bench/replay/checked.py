"""A worker that looks at every run before its figures count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sagesched.replay.backend import Backend, Runs
from sagesched.replay.engine import EngineConfig
from sagesched.replay.result import RunResult
from sagesched.replay.steptime import StepTime
from sagesched.replay.tasks import Result, Run, Task, Worker
from sagesched.replay.trace import TraceRequest


class WrongRunError(RuntimeError):
    """A run is not what it must be; its figures must not be used."""


class CheckedRuns:
    """A harness whose runs are checked: every request served to its last token, or refused.

    Args:
        harness: the one that does the runs.
    """

    def __init__(self, harness: Runs) -> None:
        self._harness = harness
        self.grid = harness.grid

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
        """As the harness does it.

        Raises:
            WrongRunError: an output is not exactly as long as it must be, a request is missing, or
                the policy raised an error and stock order took its place.
        """
        counted = _Counted(requests)
        result = self._harness.run(
            iter(counted),
            policy=policy,
            step_time=step_time,
            predictions=predictions,
            settings=settings,
            max_output_tokens=max_output_tokens,
        )
        check_result(result, counted.arrived, max_output_tokens)
        return result

    def run_replicas(
        self, requests: Iterable[TraceRequest], *, max_output_tokens: int, **more: Any
    ) -> RunResult:
        """As the harness does it; raises as `run`."""
        counted = _Counted(requests)
        result = self._harness.run_replicas(
            iter(counted), max_output_tokens=max_output_tokens, **more
        )
        check_result(result, counted.arrived, max_output_tokens)
        return result


class _Counted:
    """Requests, and how many there were."""

    def __init__(self, requests: Iterable[TraceRequest]) -> None:
        self._requests = requests
        self.arrived = 0

    def __iter__(self) -> Iterator[TraceRequest]:
        for request in self._requests:
            self.arrived += 1
            yield request


def check_result(result: RunResult, arrived: int, max_output_tokens: int) -> None:
    """Raise a `WrongRunError` that says what is wrong with a run, if something is."""
    ended = len(result.last_s) + result.refused
    if ended != arrived:
        raise WrongRunError(f"{arrived} requests arrived, {ended} were served or refused")
    wrong = result.output_tokens != np.minimum(result.true_tokens, max_output_tokens)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise WrongRunError(
            f"{int(wrong.sum())} outputs have a wrong length, the first one "
            f"{result.output_tokens[first]} tokens instead of {result.true_tokens[first]}"
        )
    if result.fallbacks:
        raise WrongRunError(f"{result.fallbacks} errors of the policy: {'; '.join(result.notes)}")


@dataclass(frozen=True)
class MakeCheckedWorker:
    """Makes a worker in a new process; sent there."""

    backend: Backend

    def __call__(self, engine: EngineConfig) -> CheckedWorker:
        """Build the engine."""
        return CheckedWorker(self.backend, CheckedRuns(self.backend.harness(engine)))


class CheckedWorker(Worker):
    """Also compares every run with the lower bound."""

    def __call__(self, task: Task) -> Result:
        """Do a task.

        Raises:
            WrongRunError: see `CheckedRuns.run`; or the mean is below what any schedule can reach.
        """
        found = super().__call__(task)
        if isinstance(found, Run):
            mean, bound = found.row.mean_ttlt_s, found.row.lower_bound_mean_ttlt_s
            if bound > mean * (1 + 1e-9):
                raise WrongRunError(f"mean TTLT {mean} s is below the lower bound {bound} s")
        return found
