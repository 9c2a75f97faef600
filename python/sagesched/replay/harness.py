"""One policy on one trace: SGLang's event loop under the virtual clock."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sagesched.lengths import LengthGrid
from sagesched.replay.control import environment
from sagesched.replay.engine import EngineConfig, Seams, build_scheduler
from sagesched.replay.policies.registry import policy_class
from sagesched.replay.predictors import Predictions
from sagesched.replay.result import RunResult
from sagesched.replay.run import Run
from sagesched.replay.steptime import StepTime
from sagesched.replay.trace import TraceRequest, checked


@dataclass(frozen=True)
class Part:
    """One scheduler of several in a process, as `Run` wants it."""

    config: EngineConfig
    grid: LengthGrid
    scheduler: Any
    seams: Seams


class Harness:
    """A scheduler for any number of runs, one after the other; one harness per process.

    Raises:
        RuntimeError: SGLang cannot be imported.
    """

    def __init__(self, config: EngineConfig | None = None) -> None:
        self.config = config or EngineConfig()
        self.grid = LengthGrid(self.config.context)
        self.scheduler, self.seams = build_scheduler(self.config)
        gc.collect()
        gc.freeze()  # for good: the collector need not walk through SGLang again in every run
        self._parts: list[Part] = [Part(self.config, self.grid, self.scheduler, self.seams)]

    def parts(self, configs: Sequence[EngineConfig]) -> list[Part]:
        """A scheduler of each configuration, the first for ``configs[0]``; kept for later runs."""
        spare = list(self._parts)
        chosen = []
        for config in configs:
            part = next((part for part in spare if part.config == config), None)
            if part is None:
                scheduler, seams = build_scheduler(config, another=True)
                part = Part(config, LengthGrid(config.context), scheduler, seams)
                self._parts.append(part)
                gc.collect()
                gc.freeze()
            else:
                spare.remove(part)
            chosen.append(part)
        return chosen

    def run_replicas(self, requests: Iterable[TraceRequest], **more: Any) -> RunResult:
        """See `cluster.harness.replay_replicas`."""
        from sagesched.replay.cluster.harness import replay_replicas

        return replay_replicas(self, requests, **more)

    def run(
        self,
        requests: Iterable[TraceRequest],
        *,
        policy: str,
        step_time: StepTime,
        predictions: Predictions | None = None,
        settings: Mapping[str, float] | None = None,
        max_output_tokens: int = 2048,
        short_cut: bool = True,
    ) -> RunResult:
        """Replay a trace.

        Args:
            requests: in order of arrival; read as the virtual clock gets there.
            policy: a name in ``policies.registry.all_policies()``.
            step_time: how long a step takes.
            predictions: what is known of output lengths; needed by policies that use it.
            settings: of the policy.
            max_output_tokens: ``max_new_tokens`` of every request.
            short_cut: see `Run.decoded`; it changes how long a replay takes, nothing else.

        Raises:
            ValueError: an unknown policy or setting, no predictions where they are needed.
            TraceError: a request that cannot be replayed.
            RuntimeError: SGLang's scheduler does not go on, or its own checks at the end fail.
        """
        made = policy_class(policy)
        made.check_settings(settings or {})
        if made.uses == "distribution" and predictions is None:
            raise ValueError(f"policy {policy} needs predictions, none were given")
        known = predictions if made.uses == "distribution" else None
        own = dict(settings or {})
        run = Run(self, made, own, step_time, known, max_output_tokens, short_cut)
        with environment(made, settings or {}):
            return run.go(checked(requests, "trace"))
