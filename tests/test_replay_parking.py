"""No stream is parked for longer than it may be, in SGLang's own scheduler under overload."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sagesched.replay.engine import EngineConfig
from sagesched.replay.generators import GeneratedWorkload
from sagesched.replay.presets import preset
from sagesched.replay.result import RunResult

from .replaying import replaying, run_gittins

pytestmark = pytest.mark.server

STEP_TIME = preset("llama-3.1-8b", "h100")
PARKED_S = 1.0
ROOM_S = 0.1
"""Until a running request ends or gives way, and a pass: some ten steps."""


@pytest.fixture(scope="module")
def run() -> Any:
    """Replays at twice what the engine can do, by how long a request may be parked, seconds."""
    requests = list(GeneratedWorkload("hetero", 800).requests(seed=300, rate_rps=32.0))
    with replaying(EngineConfig(pool_tokens=60_000, max_running=64, mixed=True)) as replay:

        def at(parked_s: float) -> RunResult:
            return run_gittins(replay, requests, STEP_TIME, dial=1.0, parked_s=parked_s)

        yield at


def test_a_parked_stream_goes_on_in_time(run: Any) -> None:
    free, bound = run(math.inf), run(PARKED_S)
    assert free.preemptions.sum() > 20
    assert bound.preemptions.sum() > 20
    kept = bound.retractions == 0  # a retracted one waits for another reason
    assert kept.mean() > 0.9
    assert free.max_gap_s[free.retractions == 0].max() > 2 * PARKED_S
    assert bound.max_gap_s[kept].max() < PARKED_S + ROOM_S


def test_without_leave_nobody_is_parked(run: Any) -> None:
    assert run(0.0).preemptions.sum() == 0
