"""How far the replay is to be trusted, in words; HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from sagesched.replay.plan import Plan
from sagesched.replay.report.view import LoadView
from sagesched.replay.session import Session

NOT_SHIPPED = {
    "oracle": "are the true lengths (<code>--predictor oracle</code>): no server has them.",
    "law": "are the true length distribution of each request's class "
    "(<code>--predictor law</code>): no server has it.",
    "prior": "are one and the same distribution for every request (<code>--predictor prior</code>):"
    " nothing is learned from prompts.",
}
"""What ``--predictor`` says policies know, where it is not the predictor that ships."""


def paragraphs(session: Session, views: Sequence[LoadView]) -> list[str]:
    """What the numbers rest on."""
    plan = session.plan
    served = round(views[0].policies[0].summary.values["n"].mean)
    every = [
        _real(plan),
        _modelled(plan),
        _ratios(),
        _chance(plan, served),
        _saturation(session.saturation_rps),
        _predictions(plan),
        _yardsticks(plan),
    ]
    return [paragraph for paragraph in every if paragraph]


def _real(plan: Plan) -> str:
    return (
        "<b>Real:</b> SGLang's own scheduler, prefix cache, memory allocator and event loop "
        f"(version {escape(plan.versions.get('sglang', '?'))}) admitted, batched, cached, evicted "
        "and retracted; a policy says in which order requests wait and, some of them, who is "
        "preempted."
    )


def _modelled(plan: Plan) -> str:
    source = (
        "fitted to measurements of a running server"
        if plan.scenario.step_time.file
        else "an analytical model from data sheets, not fitted to your server "
        "(<code>sagesched calibrate URL</code> fits one, for <code>--step-time</code>)"
    )
    return (
        "<b>Modelled:</b> how long a step takes on the GPU, by "
        f"<i>{escape(plan.step_time_name)}</i>, {source}. The text of the answers plays no part: "
        "every request produces exactly as many tokens as the trace says, unless the context or "
        "the KV pool is too small for it."
    )


def _ratios() -> str:
    return (
        "<b>Trust ratios more than seconds.</b> All policies share one model of time, so its "
        "errors largely cancel in a comparison; absolute times inherit them in full. Near and "
        "above saturation a small error in step time is a large one in waiting."
    )


def _chance(plan: Plan, served: int) -> str:
    seeds = len(plan.seeds)
    slowest = max(1, round(served * (1 - plan.scenario.warmup) / 100))
    advice = (
        "what differs by less than the &plusmn; is noise"
        if seeds > 1
        else "a single sample cannot tell noise from effect: use <code>--seeds 5</code>"
    )
    return (
        f"<b>Chance:</b> {seeds} sample{'s' * (seeds > 1)} of {served:,} requests at each load. "
        f"The P99 rests on the {slowest} slowest of them, the maximum on one; {advice}."
    )


def _saturation(rate_rps: float) -> str:
    return (
        "<b>Saturation</b> (load 1) is the rate at which fcfs finishes requests that all wait from "
        f"the start: {rate_rps:.3g} requests/s, measured for each sample by itself. Above it the "
        "queue grows for as long as the trace lasts, and all times with it: a longer trace would "
        "show larger ones."
    )


def _predictions(plan: Plan) -> str:
    known = {
        name: kind for name, kind in plan.predictors.items() if name not in plan.yardsticks
    }.values()
    for kind, words in NOT_SHIPPED.items():
        if kind in known:
            return f"<b>Predictions</b> {words}"
    if "shipped" not in known:
        return ""
    return (
        "<b>Predictions</b> are those of the shipped predictor. It starts with an empty history "
        "and learns as requests finish, so a short trace shows it at its worst."
    )


def _yardsticks(plan: Plan) -> str:
    if not plan.yardsticks:
        return ""
    names = ", ".join(sorted(map(escape, plan.yardsticks)))
    return (
        f"<b>Yardsticks:</b> {names} (dashed) know each request's true length, or that with "
        "an error drawn on it (trail). No server can; they show what is left to gain."
    )
