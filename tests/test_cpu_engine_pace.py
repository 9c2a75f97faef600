"""Engine steps of an even length, on a clock of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.demo import engine as demo_engine
from cpu_engine import eos_at
from cpu_engine.pace import STEP_VARIABLE, Pace
from cpu_engine.server import EngineServer


class Clock:
    """Sleeps as long as it is told, and a little longer."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept = 0.0
        self.too_long = 0.0

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.now += seconds + self.too_long


def test_steps_end_on_time_whatever_they_take() -> None:
    clock = Clock()
    clock.too_long = 0.001
    pace = Pace(0.010, lambda: clock.now, clock.sleep)
    pace.end_step()
    started = clock.now
    for compute in (0.004, 0.009, 0.001):
        clock.now += compute
        pace.end_step()
    assert clock.now - started == pytest.approx(0.030 + 0.001)  # one late sleep, not three


def test_a_long_step_is_not_made_up_for() -> None:
    clock = Clock()
    pace = Pace(0.010, lambda: clock.now, clock.sleep)
    pace.end_step()
    clock.now += 0.050
    pace.end_step()
    assert clock.slept == 0.0
    clock.now += 0.004
    pace.end_step()
    assert clock.slept == pytest.approx(0.006)


def test_without_a_pace_nothing_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    pace = Pace(0.0, lambda: clock.now, clock.sleep)
    for _ in range(3):
        pace.end_step()
    assert clock.slept == 0.0
    monkeypatch.delenv(STEP_VARIABLE, raising=False)
    Pace.from_environment().end_step()


def test_a_server_hands_its_pace_on() -> None:
    assert EngineServer("model", step_ms=8.0).environment()[STEP_VARIABLE] == "8.0"
    assert EngineServer("model").environment()[STEP_VARIABLE] == "0.0"


def test_the_logit_processor_ends_every_step_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(eos_at, "_pace", Pace(0.010, lambda: clock.now, clock.sleep))
    processor: Any = eos_at.EosAt()
    for _ in range(4):
        processor(np.zeros((3, 8)), [{}, None, {}])  # a batch of three, none of them replayed
    assert clock.slept == pytest.approx(0.030)  # the first step begins when the engine does


def test_the_demo_paces_the_cpu_engine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def step_ms(cpu: bool, asked: float | None) -> float:
        monkeypatch.setattr(demo_engine, "has_gpu_engine", lambda: not cpu)
        made = demo_engine.make_engine("a-model", None, asked, ())
        assert made.server("fcfs", Path("log")).step_ms == made.step_ms
        assert ("steps of" in demo_engine.hardware(made)) == (made.step_ms > 0)
        return made.step_ms

    monkeypatch.setattr(demo_engine, "gpu_name", lambda: "a GPU")
    assert step_ms(True, None) == demo_engine.CPU_STEP_MS
    assert step_ms(True, 0.0) == 0.0
    assert step_ms(False, None) == 0.0
    assert step_ms(False, 20.0) == 20.0
