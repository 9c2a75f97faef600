"""No stream is parked for longer than it may be, in SGLang's own scheduler under overload."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sagesched.replay.engine import EngineConfig
from sagesched.replay.generators import GeneratedWorkload
from sagesched.replay.presets import preset
from sagesched.replay.result import RunResult

from .replaying import Job, replaying, request, run_gittins

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
            return run_gittins(replay, requests, STEP_TIME, dial=2.0, parked_s=parked_s)

        yield at


def test_a_parked_stream_goes_on_in_time(run: Any) -> None:
    free, bound = run(math.inf), run(PARKED_S)
    assert free.preemptions.sum() > 20
    assert bound.preemptions.sum() > 20
    assert free.max_gap_s[free.retractions == 0].max() > 2 * PARKED_S
    assert bound.max_gap_s.max() < PARKED_S + ROOM_S


def test_a_retracted_stream_goes_on_in_time() -> None:
    """Two streams outgrow the memory, and one goes; short ones come faster than they are served."""
    streams = [request(0.0, 100, 420, number=0), request(0.5, 100, 600, number=1)]
    short = [request(5.0 * n, 20, 10, number=2 + n) for n in range(1, 240)]
    engine = EngineConfig(pool_tokens=1_000, max_running=3, conservativeness=0.01)

    def wait_s(parked_s: float) -> float:
        settings = {"dial": math.inf, "parked_s": parked_s, "forecast": 0.0}
        found = replay(Job(streams + short, "gittins", settings=settings, max_output_tokens=600))
        assert found.fallbacks == 0
        assert found.retractions[:2].tolist() == [0, 1]
        return float(found.max_gap_s[1])

    with replaying(engine) as replay:
        assert wait_s(math.inf) > 400
        assert wait_s(50.0) < 50 + 20
        assert wait_s(0.0) < 50


def test_without_leave_nobody_is_parked(run: Any) -> None:
    assert run(0.0).preemptions.sum() == 0
