"""What a policy remembers of a request: kept on SGLang's ``Req``, so that it ends with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sagesched.lengths import LengthDistribution
from sagesched.replay.policies.base import Situation

PREFIX_VALID_STEPS = 32
"""A radix-cache hit is looked up again after as many steps: at most 1 of 32 waiting a step."""

Note = TypeVar("Note")


def remembered(request: Any, name: str, make: Callable[[], Note]) -> Note:
    """The request's note of that name, made at the first call."""
    attribute = f"_replay_{name}"
    note: Note | None = getattr(request, attribute, None)
    if note is None:
        note = make()
        setattr(request, attribute, note)
    return note


def at_age(request: Any, age: int, compute: Callable[[], float]) -> float:
    """What ``compute`` gives, kept until the request has another (rounded) age in tokens."""
    note: tuple[int, float] | None = getattr(request, "_replay_at_age", None)
    if note is None or note[0] != age:
        note = request._replay_at_age = (age, compute())
    return note[1]


def predicted(situation: Situation, request: Any) -> LengthDistribution:
    """The request's output-length distribution.

    Raises:
        ValueError: the run has no predictions.
    """
    known = situation.known(request)
    if known.predicted is None:
        raise ValueError(f"request {request.rid} has no prediction; choose a --predictor")
    return known.predicted


def uncached_prompt(situation: Situation, request: Any) -> int:
    """Prompt tokens that are not in the radix cache, as of at most ``PREFIX_VALID_STEPS`` ago."""
    prompt = len(request.origin_input_ids)
    note: tuple[int, int] | None = getattr(request, "_replay_prefix", None)
    if note is None or situation.step - note[0] >= PREFIX_VALID_STEPS:
        # What a request has produced itself may be cached, too, after a preemption.
        cached = min(situation.cached_prefix(request), prompt)
        note = request._replay_prefix = (situation.step, prompt - cached)
    return note[1]
