"""Two schedulers that are fed the same requests decide alike, step by step, whatever else differs.

Each is SGLang's real scheduler in a process of its own, as ranks of a tensor-parallel group are,
with another clock, another hash seed and other object addresses. Predictions follow the requests in
messages that reach every rank between the same two steps, so the time at which they were made is no
rank's own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("sglang")

STEPS = 100_000
PROGRAM = """
import hashlib, json, sys

start_s, ballast = float(sys.argv[1]), [object() for _ in range(int(sys.argv[2]))]
import sagesched.replay.clock as clock

clock.START_S = start_s
from sagesched.plugin.following import Following
from sagesched.replay.engine import EngineConfig
from sagesched.replay.generators import GeneratedWorkload
from sagesched.replay.harness import Harness
from sagesched.replay.predictors import Law
from sagesched.replay.presets import preset
from sagesched.replay.run import Run

Law.seconds = 0.03  # a few steps
foretold = 0
came = Following.came


def counted(self, rid, predicted):
    global foretold
    foretold += 1
    return came(self, rid, predicted)


Following.came = counted
harness = Harness(EngineConfig(pool_tokens=16_000, max_running=16, mixed=True, context=4096))
workload = GeneratedWorkload("hetero", 6_000)
decisions, samples, steps = hashlib.sha256(), [], 0
stock = Run.forward


def forward(self, batch, *args, **kwargs):
    global steps
    steps += 1
    running = ",".join(request.rid for request in batch.reqs)
    front = ",".join(request.rid for request in self.scheduler.waiting_queue[:24])
    decisions.update(f"{steps}|{batch.forward_mode}|{running}|{front};".encode())
    if steps % 5_000 == 0:
        samples.append(decisions.hexdigest()[:16])
    return stock(self, batch, *args, **kwargs)


Run.forward = forward
result = harness.run(
    workload.requests(seed=7, rate_rps=8.0),
    policy="gittins",
    step_time=preset("llama-3.1-8b", "h100"),
    predictions=Law(workload, harness.grid),
)
print(json.dumps({
    "steps": steps, "samples": samples, "decisions": decisions.hexdigest(),
    "foretold": foretold,
    "parked": int(result.preemptions.sum()), "fallbacks": result.fallbacks,
    "waited": int((result.first_s - result.arrival_s > 1.0).sum()),
}))
"""


def start(clock_s: float, ballast: int, hash_seed: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(clock_s), str(ballast)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        stdout=subprocess.PIPE,
        text=True,
    )


def outcome(rank: subprocess.Popen[str]) -> Any:
    out, _ = rank.communicate(timeout=900)
    assert rank.returncode == 0
    return json.loads(out.splitlines()[-1])


def test_a_hundred_thousand_steps_are_the_same() -> None:
    ranks = [start(1000.0, 0, "1"), start(987_654.5, 54_321, "2")]
    first, second = map(outcome, ranks)
    assert first["steps"] >= STEPS
    assert first["foretold"] > 5000
    assert first["parked"] > 100, "parking was no part of what was compared"
    assert first["waited"] > 1000, "nothing waited, so nothing was ordered"
    assert first["fallbacks"] == 0
    assert first["samples"] == second["samples"]
    assert first == second
