"""The same requests in virtual time."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path

from bench.demo.engine import Engine
from bench.demo.workload import Workload
from bench.validation.runs import LOADS, POLICIES, Real, Times, arrivals_of, key
from sagesched.replay.fitted import FittedStepTime
from sagesched.replay.trace import FIRST_PROMPT_TOKEN, TraceRequest


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
    work: Workload, engine: Engine, real: Real, model: FittedStepTime
) -> dict[str, Times]:
    """Every policy at every load, in virtual time."""
    from sagesched.replay.engine import EngineConfig
    from sagesched.replay.harness import Harness
    from sagesched.replay.predictors import Shipped

    names = ("pool_tokens", "max_running", "context", "chunk", "page_size", "mixed", "overlap")
    harness = Harness(EngineConfig(**{name: model.engine[name] for name in names}))
    trace = DemoTrace(work, engine.model)
    runs = {}
    for load in LOADS:
        for policy in POLICIES:
            result = harness.run(
                trace.at(arrivals_of(real, load)),
                policy=policy,
                step_time=model,
                predictions=Shipped(harness.grid),
                max_output_tokens=trace.max_output_tokens,
            )
            if result.refused or result.fallbacks:
                raise RuntimeError(f"{policy}: {result.refused} refused, {result.notes}")
            runs[key(policy, load)] = Times(result.ttlt_s.tolist(), result.ttft_s.tolist())
    return runs
