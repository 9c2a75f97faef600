"""The same requests in virtual time."""

from __future__ import annotations

import functools
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.demo.engine import Engine
from bench.demo.workload import Workload
from bench.validation.runs import (
    POLICIES,
    SCENARIOS,
    Real,
    Times,
    arrivals_of,
    key,
    workload_of,
)
from sagesched.replay.fitted import FittedStepTime
from sagesched.replay.steptime import Scaled
from sagesched.replay.trace import FIRST_PROMPT_TOKEN, TraceRequest

if TYPE_CHECKING:
    from sagesched.replay.engine import EngineConfig
    from sagesched.replay.harness import Harness

SETTINGS = ("pool_tokens", "max_running", "context", "chunk", "page_size", "mixed", "overlap")
"""Of the server, as it tells them itself."""


class DemoTrace:
    """The demo's workload as the replay takes it: the served model's tokens, and the text."""

    name = "built-in"
    recorded_rate_rps = None

    def __init__(self, work: Workload, model: str) -> None:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(Path(model) / "tokenizer.json"))
        self.max_output_tokens = work.max_new_tokens
        self._rows = [
            # Moved up into the replay's range of prompt tokens; equal prefixes stay equal.
            (array("q", [FIRST_PROMPT_TOKEN + i for i in tokenizer.encode(r.text).ids]), r)
            for r in work.timed
        ]

    def at(self, arrivals: Sequence[float]) -> list[TraceRequest]:
        """The requests, arriving at these times."""
        return [
            TraceRequest(at, prompt, r.output_tokens, text=r.text, cluster=r.family)
            for at, (prompt, r) in zip(arrivals, self._rows, strict=True)
        ]


def replay_all(
    engine: Engine, real: Real, model: FittedStepTime, slowness: float = 1.0
) -> dict[str, Times]:
    """Every policy in every scenario, in virtual time; with steps ``slowness`` times as long."""
    from sagesched.replay.engine import EngineConfig
    from sagesched.replay.predictors import Shipped

    harness = _harness(EngineConfig(**{name: model.engine[name] for name in SETTINGS}))
    slowed = Scaled(model, 1 / slowness)
    runs = {}
    for scenario in SCENARIOS:
        trace = DemoTrace(workload_of(scenario, real.requests), engine.model)
        arrivals = arrivals_of(scenario, real.requests, real.saturation_rps)
        for policy in POLICIES:
            result = harness.run(
                trace.at(arrivals),
                policy=policy,
                step_time=slowed,
                predictions=Shipped(harness.grid),
                max_output_tokens=trace.max_output_tokens,
            )
            if result.refused or result.fallbacks:
                raise RuntimeError(f"{policy}: {result.refused} refused, {result.notes}")
            times = Times(result.ttlt_s.tolist(), result.ttft_s.tolist())
            runs[key(policy, scenario)] = times
    return runs


@functools.cache
def _harness(config: EngineConfig) -> Harness:
    from sagesched.replay.harness import Harness

    return Harness(config)
