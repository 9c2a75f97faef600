"""Every baseline in SGLang's scheduler: exact lengths, no fallback, none below the lower bound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sagesched.replay.bound import lower_bound_mean_ttlt_s, shared_prefix_tokens
from sagesched.replay.engine import EngineConfig
from sagesched.replay.generators import GeneratedWorkload
from sagesched.replay.policies.registry import policy_class
from sagesched.replay.presets import preset

from .replay_bench import OURS
from .replaying import Job, replaying

pytestmark = pytest.mark.server

STEP_TIME = preset("llama-3.1-8b", "h100")
WORKLOAD = GeneratedWorkload("hetero", 60)
TRACE = list(WORKLOAD.requests(seed=7, rate_rps=12.0))
PREEMPTING = {
    "ltr",
    "trail",
    "fastserve",
    "sagesched-paper",
    "sagesched-paper-25GB",
    "uniboost",
    "gittins-soft",
    "oracle-srpt-soft",
}
ENGINES = {
    "mixed": EngineConfig(pool_tokens=12_000, max_running=8, mixed=True),
    "overlap": EngineConfig(pool_tokens=12_000, max_running=8, overlap=True),
}


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[tuple[EngineConfig, Any]]:
    config = ENGINES[request.param]
    with replaying(config) as run:
        yield config, run


@pytest.mark.parametrize("policy", ["fcfs", *OURS])
def test_every_policy_serves_everybody_and_beats_no_bound(policy: str, engine: Any) -> None:
    config, run = engine
    result = run(Job(TRACE, policy, step_time=STEP_TIME))
    assert result.output_tokens.tolist() == [request.output_tokens for request in TRACE]
    assert (result.fallbacks, result.notes, result.refused) == (0, (), 0)
    assert (result.preemptions.sum() > 0) == (policy in PREEMPTING)
    bound = lower_bound_mean_ttlt_s(
        result.arrival_s,
        result.prompt_tokens,
        result.output_tokens,
        pool_tokens=config.pool_tokens,
        slots=config.max_running,
        step_time=STEP_TIME,
        shared_prefix_tokens=shared_prefix_tokens([request.prompt for request in TRACE]),
    )
    assert 0 < bound <= result.ttlt_s.mean()


def test_the_free_swap_is_free_and_the_charged_one_is_not(engine: Any) -> None:
    _, run = engine
    free, charged = (
        run(Job(TRACE, name, step_time=STEP_TIME))
        for name in ("sagesched-paper", "sagesched-paper-25GB")
    )
    assert free.recomputed_tokens == charged.recomputed_tokens == 0
    assert free.ttlt_s.mean() < charged.ttlt_s.mean()
    assert policy_class("sagesched-paper").settings == policy_class("sagesched-paper-25GB").settings
