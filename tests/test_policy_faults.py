"""An error in any part of ours, in SGLang's real scheduler: every request ends, at its true length.

One process runs SGLang's scheduler in virtual time, once for each place where an error is raised.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("sglang")

OF_GITTINS = (
    "sagesched.plugin.order.QueueOrder.enter",
    "sagesched.plugin.order.QueueOrder.settle",
    "sagesched.plugin.order.QueueOrder.rank",
    "sagesched.plugin.order.QueueOrder._best",
    "sagesched.plugin.order.QueueOrder.best_keys",
    "sagesched.plugin.order.QueueOrder.worst_first",
    "sagesched.plugin.anchor.Anchor.keys",
    "sagesched.plugin.anchor.Anchor.saw",
    "sagesched.plugin.parking.Parking.victims",
    "sagesched.plugin.parking.Parking.park",
    "sagesched.plugin.parking.Parking.hurry",
    "sagesched.plugin.parking.Parking.retracted",
    "sagesched.plugin.memory.Memory.start",
    "sagesched.plugin.memory.Memory.more_for",
    "sagesched.plugin.memory.Memory.join",
    "sagesched.plugin.adder.place_of",
    "sagesched.plugin.adder.is_known",
    "sagesched.plugin.shared_clock.SharedClock.saw",
    "sagesched.plugin.hooks.admission.release_to_tree",
    "sagesched.plugin.hooks.queue_enter.detach",
    "sagesched.plugin.hooks.queue_enter.place_of",
    "sagesched.plugin.hooks.queue_enter.role_of",
    "sagesched.plugin.hooks.retraction.gittins_index",
    "sagesched.plugin.hooks.retraction.place_of",
)
OF_LARRY = (
    "sagesched.plugin.order.QueueOrder.enter",
    "sagesched.plugin.order.QueueOrder.rank",
    "sagesched.plugin.larry.LarryOrder._meet",
    "sagesched.plugin.larry.LarryOrder._match",
    "sagesched.plugin.demand.Demand.saw",
    "sagesched.plugin.hooks.queue_enter.place_of",
    "sagesched.plugin.hooks.retraction.place_of",
)
PLACES = [f"{path} gittins" for path in OF_GITTINS] + [f"{path} larry" for path in OF_LARRY]
PROGRAM = """
import importlib, json, sys
import sagesched.plugin.fallback as fallback
from sagesched.replay.engine import EngineConfig
from sagesched.replay.generators import GeneratedWorkload
from sagesched.replay.harness import Harness
from sagesched.replay.predictors import Law
from sagesched.replay.presets import preset

causes = []
fallback.count_fallback = causes.append
# A pool so small that SGLang retracts, too.
harness = Harness(EngineConfig(pool_tokens=5_000, max_running=16, mixed=True, context=4096,
                               conservativeness=0.01))
workload = GeneratedWorkload("hetero", 160)


def owner_of(path):
    module = path.split(".")
    for cut in range(len(module), 0, -1):
        try:
            found = importlib.import_module(".".join(module[:cut]))
        except ImportError:
            continue
        for name in module[cut:-1]:
            found = getattr(found, name)
        return found, module[-1]


def run(path, policy, error, first, every):
    calls = raised = 0
    owner, name = owner_of(path) if path else (None, None)
    stock = getattr(owner, name) if path else None

    def broken(*args, **kwargs):
        nonlocal calls, raised
        calls += 1
        if calls >= first and (calls - first) % every == 0:
            raised += 1
            raise error("injected")
        return stock(*args, **kwargs)

    if path:
        setattr(owner, name, broken)
    if name == "keys":
        first += 2  # an order that cannot even be made stops the server at its start
    causes.clear()
    settings, predictions = {"dial": 3.0}, None
    if policy == "gittins":
        settings["forecast"] = float("memory" in path or "adder" in path)
        predictions = Law(workload, harness.grid)
    try:
        result = harness.run(workload.requests(seed=3, rate_rps=8.0), policy=policy,
                             settings=settings, predictions=predictions,
                             step_time=preset("llama-3.1-8b", "h100"))
    finally:
        if path:
            setattr(owner, name, stock)
    return {
        "ended": len(result.last_s), "refused": result.refused,
        "right": bool((result.output_tokens == result.true_tokens).all()),
        "raised": raised, "causes": sorted(set(causes)),
        "parked": int(result.preemptions.sum()), "retracted": int(result.retractions.sum()),
    }


print(json.dumps({
    "sound": {policy: run("", policy, None, 0, 1) for policy in ("gittins", "larry")},
    "always": {place: run(*place.split(), ValueError, 1, 1) for place in sys.argv[1:]},
    "memory": {place: run(*place.split(), MemoryError, 1, 5) for place in sys.argv[1:]},
}))
"""


@pytest.fixture(scope="module")
def runs() -> Any:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *PLACES],
        env={**os.environ, "SGLANG_CLIP_MAX_NEW_TOKENS_ESTIMATION": "8"},  # admits too many
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_the_sound_run_does_everything_that_is_broken_below(runs: Any) -> None:
    for sound in runs["sound"].values():
        assert (sound["ended"], sound["refused"], sound["right"]) == (160, 0, True)
        assert sound["causes"] == []
        assert sound["retracted"] > 10
    assert runs["sound"]["gittins"]["parked"] > 10


@pytest.mark.parametrize("kind", ["always", "memory"])
@pytest.mark.parametrize("place", PLACES)
def test_every_request_ends_and_the_error_is_counted(runs: Any, place: str, kind: str) -> None:
    found = runs[kind][place]
    assert found["raised"] > 0, "the place is never reached"
    assert found["causes"], "nothing was counted"
    assert (found["ended"], found["refused"], found["right"]) == (160, 0, True)
