"""Step times whose prefill has another fixed cost, to see whether results hang on it.

The preset made linear: a decode step, a prompt token and a pair of attended tokens cost what they
cost in the roofline at the margin, and every step with prefill a fixed part of its own, which the
roofline does not tell apart from the weights being read.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.replay.cells import STEP_TIME
from bench.replay.machine import REPOSITORY
from sagesched.replay.backend import StepTimeSpec
from sagesched.replay.fitted import FittedStepTime, Line
from sagesched.replay.presets import preset
from sagesched.replay.steptime import Step


def linear(times: float) -> FittedStepTime:
    """The preset of the other settings as a linear model, prefill's fixed cost so many times."""
    model = preset(STEP_TIME.model, STEP_TIME.gpu)
    empty = model.seconds(Step(decode_requests=1))
    kv_token = (model.seconds(Step(1, 100_000)) - empty) / 100_000
    large = Step(prefill_tokens=4096, prefill_requests=1)
    larger = replace(large, prefill_tokens=8192)
    token = (model.seconds(larger) - model.seconds(large)) / 4096
    attended = replace(large, prefill_attention=1e8)
    pair = (model.seconds(attended) - model.seconds(large)) / 1e8
    return FittedStepTime(
        name=f"{model.name} made linear, prefill's fixed cost x {times:g}",
        decode=Line(0.0, empty, (0.0, kv_token)),
        prefill=Line(0.0, times * empty, (token, pair, 0.0)),
    )


def spec(times: float, folder: Path = REPOSITORY / "build") -> StepTimeSpec:
    """The same in a file, as a replay takes it."""
    file = folder / f"fixed_prefill_{times:g}.json"
    if not file.exists():
        folder.mkdir(exist_ok=True)
        linear(times).save(file)
    return StepTimeSpec(file=str(file))
