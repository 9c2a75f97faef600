"""Admission by forecast in SGLang's own scheduler, in virtual time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sagesched.replay.engine import EngineConfig
from sagesched.replay.generators import GeneratedWorkload
from sagesched.replay.presets import preset
from sagesched.replay.result import RunResult

from .replaying import EvenSteps, Job, harness, replaying, request, run_gittins, run_job

pytestmark = pytest.mark.server

STEP_TIME = preset("llama-3.1-8b", "h100")


@pytest.fixture(scope="module")
def run() -> Any:
    """Replays where memory is short, by the rule of admission."""
    requests = list(GeneratedWorkload("hetero", 500).requests(seed=300, rate_rps=30.0))
    with replaying(EngineConfig(pool_tokens=30_000, max_running=64, mixed=True)) as replay:

        def under(admission: str, **settings: float) -> RunResult:
            forecast = float(admission == "forecast")
            return run_gittins(replay, requests, STEP_TIME, forecast=forecast, **settings)

        yield under


def test_it_fills_the_memory_that_stock_keeps_free(run: Any) -> None:
    assert run("forecast").ttlt_s.mean() < 0.9 * run("stock").ttlt_s.mean()


def test_what_ran_before_in_the_process_changes_nothing(run: Any) -> None:
    first = run("forecast")
    run("stock")
    again = run("forecast")
    assert (first.last_s == again.last_s).all()


def test_small_ones_go_on_behind_one_that_does_not_fit() -> None:
    runs = request(0.0, 1000, 100, number=0)
    too_large = request(1.5, 1900, 5, number=3)
    small = request(1.5, 50, 5, number=9)
    with replaying(EngineConfig(pool_tokens=2_500, max_running=8, mixed=True)) as replay:
        found = run_gittins(replay, [runs, too_large, small], EvenSteps(), dial=1, parked_s=0)
        assert found.last_s[2] < 20 < 100 < found.first_s[1]
        stock = run_gittins(
            replay, [runs, too_large, small], EvenSteps(), dial=1, parked_s=0, forecast=0
        )
        assert min(stock.first_s[1:]) > 100
        strict = run_gittins(replay, [runs, too_large, small], EvenSteps(), dial=0, parked_s=0)
        assert 100 < strict.first_s[1] < strict.first_s[2] + 2


def test_at_a_dial_of_0_they_are_served_as_they_come(run: Any) -> None:
    assert (np.diff(run("forecast", dial=0.0).first_s) >= 0).all()


def prompt_tokens_computed(policy: str) -> tuple[int, int, float]:
    """After a run: as we count them, as SGLang does, and the clock of the order."""
    from sagesched.plugin.state import state_of

    run_job(Job(PROMPTS, policy))
    scheduler = harness().scheduler
    state = state_of(scheduler.policy)
    return state.prefilled_tokens, scheduler.processed_tokens_counter, state.order._now(-1)


PROMPTS = [request(9.0 * number, 100, 20, number=number) for number in range(10)]


@pytest.mark.parametrize("chunk", [8192, 40])
def test_prompt_tokens_are_counted_once_each(chunk: int) -> None:
    """The seconds that ranks share and larry's arrivals hang on them; SGLang's counter goes up
    while it decodes."""
    with replaying(EngineConfig(mixed=True, chunk=chunk), run=prompt_tokens_computed) as count:
        ours, theirs, _ = count("gittins")
        assert count("larry")[::2] == (ours, ours)
    assert ours == 10 * 100
    assert theirs > ours, "SGLang's counter is right now: use it"
