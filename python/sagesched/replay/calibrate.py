"""``sagesched calibrate URL``: a step-time model from a running server, over HTTP alone."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from sagesched.cost import TYPICAL_HELD_TOKENS, CostModel, typical_batch
from sagesched.replay import flags
from sagesched.replay.fitted import FittedStepTime
from sagesched.replay.fitting import fit
from sagesched.replay.measure import Meter
from sagesched.replay.probe import Server
from sagesched.replay.probe_plan import Prompts, decode_plan, prefill_plan
from sagesched.replay.server_info import CalibrationError
from sagesched.replay.steptime import Step

DESCRIPTION = """\
Measure a running SGLang server's steps over HTTP and fit the model that `sagesched replay` takes
for them. Nothing is installed in the server; it must have no other traffic meanwhile (its prefix
cache is flushed), and one replica. A few minutes.
"""

POOR_FIT = 0.2
"""Median relative error above which the steps do not follow the model at all."""
PROMPT_TOKENS = 512
"""Of the prompt whose prefill is weighed against decode steps."""
PREFILL_PER_ROUND = 2
"""A stall is one step long, where a decode step is averaged over many: more repeats."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("url", help="the server, such as http://127.0.0.1:30000")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the model to this file")
    parser.add_argument("--name", default="", help="name of the model (default: as served)")
    parser.add_argument(
        "--max-batch", type=_positive, default=256, help="largest batch probed (256)"
    )
    parser.add_argument(
        "--max-prompt", type=_positive, default=4096, help="longest prompt probed, tokens (4096)"
    )
    parser.add_argument(
        "--tokens", type=_positive, default=64, help="output tokens of a decode probe (64)"
    )
    parser.add_argument("--repeats", type=_positive, default=3, help="rounds over all probes (3)")
    parser.add_argument("--seed", type=int, default=0, help="of the random prompts (0)")
    parser.add_argument(
        "--request",
        type=_object,
        default={},
        metavar="JSON",
        help="fields for the body of every request, such as the logit processor of your traffic",
    )
    parser.add_argument("--api-key", default="", help="sent as a bearer token")


def run(options: argparse.Namespace) -> int:
    """The command; returns the exit status: 0, or 1 with a message on stderr."""
    try:
        flags.writable("json", options.json)
        server = Server(options.url, options.request, options.api_key)
        model = calibrate(
            server,
            name=options.name,
            max_batch=options.max_batch,
            max_prompt=options.max_prompt,
            tokens=options.tokens,
            repeats=options.repeats,
            seed=options.seed,
        )
        if options.json is not None:
            model.save(options.json)
    except (CalibrationError, OSError, ValueError) as error:
        print(f"sagesched calibrate: {error}", file=sys.stderr)
        return 1
    print(summary(model))
    if options.json is not None:
        print(
            f"written to {options.json}; use it with: sagesched replay --step-time {options.json}"
        )
    return 0


def calibrate(
    server: Server,
    *,
    name: str = "",
    max_batch: int = 256,
    max_prompt: int = 4096,
    tokens: int = 64,
    repeats: int = 3,
    seed: int = 0,
) -> FittedStepTime:
    """Measure and fit.

    Args:
        name: of the model; as served, if empty.
        max_batch, max_prompt: limits of the probes.
        tokens: output tokens of a decode probe.
        repeats: rounds over all probes, of whose durations the median counts.
        seed: of the prompts.

    Raises:
        CalibrationError: the server is not there, not SGLang, busy, has several replicas, or its
            steps do not follow the model.
    """
    info = server.info()
    if info.replicas > 1:
        raise CalibrationError(
            f"{server.url} has {info.replicas} data-parallel replicas, which share the probes "
            "among them; calibrate on a server with --dp-size 1"
        )
    meter = Meter(server, info, seed)
    decodes = decode_plan(info, max_batch=max_batch, max_prompt=max_prompt, tokens=tokens)
    prefills = prefill_plan(info, max_prompt=max_prompt)
    if not decodes or not prefills:
        raise CalibrationError(f"{server.url}: context, pool or chunk are too small for any probe")
    _say(f"{info.model}, SGLang {info.version}: warming up")
    _warm_up(Meter(server, info, seed + 1), decodes, prefills, tokens)
    decode = _rounds("decode", decodes, lambda plan: meter.decode(plan, tokens), repeats)
    prefill = _rounds("prefill", prefills, meter.prefill, PREFILL_PER_ROUND * repeats)
    if not prefill:
        raise CalibrationError(f"{server.url}: no prefill could be measured; is it busy?")
    model = fit(name or Path(info.model).name, decode, prefill)
    _refuse_poor(model)
    outside_s = max(0.0, float(np.median(meter.outside_s)))
    return replace(model, request_overhead_s=outside_s, engine=asdict(info))


def _rounds(
    kind: str,
    plans: Sequence[Prompts],
    measure: Callable[[Prompts], tuple[Step, float] | None],
    repeats: int,
) -> list[tuple[Step, float]]:
    """All plans in turn, so that a slow moment falls on one repeat of each; the medians."""
    found: dict[Prompts, list[tuple[Step, float]]] = {plan: [] for plan in plans}
    for number in range(1, repeats + 1):
        for plan in plans:
            measured = measure(plan)
            if measured is None:
                _say(f"round {number}: {kind} {plan}: never measured in one step, left out")
                continue
            found[plan].append(measured)
            _say(f"round {number}: {kind} {plan}: {1e3 * measured[1]:.2f} ms")
    by_duration = [sorted(steps, key=lambda step: step[1]) for steps in found.values() if steps]
    return [steps[len(steps) // 2] for steps in by_duration]


def summary(model: FittedStepTime) -> str:
    """The model and its errors, in lines for a person."""
    requests, kv = model.decode.per_unit_s
    tokens, pairs, prompts = model.prefill.per_unit_s
    decode = f"{_ms(model.decode.overhead_s)} + {_us(requests)} x requests"
    prefill = f"{_ms(model.prefill.overhead_s)} + {_us(tokens)} x tokens + {_us(pairs)} x pairs"
    lines = [
        f"step times of {model.name}",
        f"  decode:  {decode} + {_us(kv)} x KV tokens{_floor(model.decode.floor_s)}",
        f"  prefill: {prefill} + {_us(prompts)} x requests{_floor(model.prefill.floor_s)}",
        f"  beside the steps, per request: {_ms(model.request_overhead_s)}",
    ]
    lines += [
        f"  {kind} fitted to {error.steps} steps: relative error {error.median:.1%} (median), "
        f"{error.p95:.1%} (P95)"
        for kind, error in model.errors.items()
    ]
    cost = cost_of(model)
    if cost is not None:
        lines.append(f"  cost of a request by these steps: {_as_variable(cost)}")
    return "\n".join(lines)


def cost_of(model: FittedStepTime) -> CostModel | None:
    """The cost of a request on the measured engine; None if its pool or slots are not known."""
    pool, slots = (int(model.engine.get(name) or 0) for name in ("pool_tokens", "max_running"))
    if pool < 1 or slots < 1:
        return None
    batch = round(typical_batch(pool, slots))
    decode_s = model.seconds(
        Step(decode_requests=batch, decode_kv_tokens=round(batch * TYPICAL_HELD_TOKENS))
    )
    prompt = PROMPT_TOKENS
    prefill_s = model.seconds(
        Step(prefill_tokens=prompt, prefill_attention=prompt**2 / 2, prefill_requests=1)
    )
    return CostModel.of_engine(pool, slots, prompt * decode_s / prefill_s)


def _as_variable(cost: CostModel) -> str:
    return f"SAGESCHED_COST={cost.token:.4g},{cost.memory:.4g},{cost.prefill:.4g}"


def _warm_up(
    meter: Meter, decodes: Sequence[Prompts], prefills: Sequence[Prompts], tokens: int
) -> None:
    """The first requests of a server compile and allocate; they are not measured."""
    meter.decode(decodes[0], tokens)
    meter.decode(max(decodes, key=lambda plan: plan.requests), tokens)
    meter.prefill(prefills[-1])


def _refuse_poor(model: FittedStepTime) -> None:
    for kind, error in model.errors.items():
        if error.median > POOR_FIT:
            raise CalibrationError(
                f"the measured {kind} steps do not follow the model (median error "
                f"{error.median:.0%}): is the machine shared, or the server busy? Raise --repeats "
                "and try again at a quiet time."
            )


def _floor(seconds: float) -> str:
    return f", at least {_ms(seconds)}" if seconds else ""


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms"


def _us(seconds: float) -> str:
    return f"{1e6 * seconds:.3g} us"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("expected a JSON object")
    return value
