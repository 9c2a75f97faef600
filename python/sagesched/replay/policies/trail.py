"""TRAIL: shortest predicted remaining length first, with limited preemption."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from sagesched.replay.policies.base import Policy
from sagesched.replay.policies.notes import remembered
from sagesched.replay.policies.preempt import give_way


class Trail(Policy):
    """A request may be preempted only while its age is below ``c`` times its predicted length.

    TRAIL reads the remaining length off the model's own hidden states at every token. A replay
    has none, and a prediction from the prompt would sell it short: here the estimates are the
    truth times a log-normal error of a stated size, drawn once per request and kind, so the policy
    counts among those that know the truth. The first estimate, before any token, has the error of
    a prediction from the prompt; later ones the refined error, smaller by a factor of 2.66, which
    the paper reports of its mean absolute errors. The errors of one request do not average out:
    the paper smooths them over time, which leaves the persistent part.

    Victims lose the KV of their output and compute it again. In the paper they lose all of it;
    SGLang keeps the prompt's in its radix tree until it is evicted: preemption is cheaper here.
    ``c = 1`` is preemptive SRPT up to the predicted length, ``c = 0`` never preempts.

    Settings:
        c: share of the predicted length after which a request is safe.
        prompt_error, refined_error: standard deviation of the log of the estimate.
        most_victims: per step; the paper has no limit.
    """

    name = "trail"
    source = "TRAIL (arXiv 2410.01035); hidden-state probe replaced by truth with error"
    uses = "truth"
    release = "recompute"
    settings: ClassVar[Mapping[str, float]] = {
        "c": 0.8,
        "prompt_error": 0.8,
        "refined_error": 0.3,
        "most_victims": 4096.0,
    }

    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **Policy.limits,
        "c": (0.0, 1.0),
        "prompt_error": (0.0, 10.0),
        "refined_error": (0.0, 10.0),
    }

    def key(self, request: Any) -> float:
        """Estimated output tokens still to come."""
        first, later = self._errors(request)
        truth, age = self.situation.known(request).output_tokens, len(request.output_ids)
        return max(1, truth - age) * (later if age else first)

    def victims(self, running: Sequence[Any], waiting: Sequence[Any]) -> list[Any]:
        """Young enough, and somebody shorter waits."""
        return give_way(
            [request for request in running if not self._is_safe(request)],
            waiting,
            self.key,
            lambda newcomer, victim: bool(newcomer < victim),
            int(self.values["most_victims"]),
        )

    def _is_safe(self, request: Any) -> bool:
        predicted = self.situation.known(request).output_tokens * self._errors(request)[0]
        return len(request.output_ids) >= math.floor(self.values["c"] * predicted)

    def _errors(self, request: Any) -> tuple[float, float]:
        """Factors on the truth: before the first token, and after it."""
        return remembered(request, "errors", lambda: self._draw(request))

    def _draw(self, request: Any) -> tuple[float, float]:
        generator = random.Random(self.situation.known(request).number)
        spreads = self.values["prompt_error"], self.values["refined_error"]
        first, later = (math.exp(spread * generator.gauss(0.0, 1.0)) for spread in spreads)
        return first, later


class TrailWithoutPreemption(Trail):
    """``c = 0``: the order alone."""

    name = "trail-c0"
    settings: ClassVar[Mapping[str, float]] = {**Trail.settings, "c": 0.0}
