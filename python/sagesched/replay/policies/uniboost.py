"""UniBoost: arrival order with a boost for little work."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from sagesched.cost import PREFILL_TOKENS_IN_AN_EMPTY_STEP
from sagesched.replay.policies.base import Policy
from sagesched.replay.policies.notes import at_age
from sagesched.replay.policies.preempt import give_way

FIRST_REFRESH_TOKENS = 16


class UniBoost(Policy):
    """Arrival minus ``ln(1 / (1 - exp(-gamma * s))) / gamma``, with no prediction at all.

    This is the gamma boost (Yu, Scully, arXiv 2404.08826), which is strongly tail-optimal where
    sizes ``s`` are known and light-tailed. UniBoost puts observable signals in the place of the
    size. What it publishes of that in prose leaves room; here ``s`` is the service that the request
    is known to need at least: its prompt, and its output so far rounded up to the next of the
    geometric ages 16, 32, 64, ... Long runners lose their boost step by step. A large gamma is
    arrival order, a small one least attained service.

    So a bad result speaks against this rendering, not against the paper.

    Its cache-aware preemption is rendered so: a victim's key must be later by more than the time
    that its KV would take to compute again, for everybody in the batch, who would have to wait for
    it. The KV is left in the radix tree.

    Settings:
        scale_tokens: ``1 / gamma``, in decode steps.
        most_victims: per step.
    """

    name = "uniboost"
    source = "UniBoost (arXiv 2606.18431); boost arXiv 2404.08826; size signal and gamma are ours"
    release = "soft"
    settings: ClassVar[Mapping[str, float]] = {"scale_tokens": 128.0, "most_victims": 8.0}

    def key(self, request: Any) -> float:
        """Boosted arrival, decode steps."""
        arrival = self.situation.known(request).arrival_s / self.situation.step_s
        return arrival - self._boost(request)

    def victims(self, running: Sequence[Any], waiting: Sequence[Any]) -> list[Any]:
        """Those so much later that computing their KV again would still pay."""

        def key(request: Any) -> float:
            return self.key(request) - prices.get(id(request), 0.0)

        prices = {id(request): len(running) * self._recompute(request) for request in running}
        most = int(self.values["most_victims"])
        return give_way(
            running, waiting, key, lambda newcomer, victim: bool(newcomer < victim), most
        )

    def _boost(self, request: Any) -> float:
        age = FIRST_REFRESH_TOKENS
        while age <= len(request.output_ids):
            age *= 2
        return at_age(request, age, lambda: self._boost_of(request, age))

    def _boost_of(self, request: Any, age: int) -> float:
        scale = self.values["scale_tokens"]
        work = age + len(request.origin_input_ids) / PREFILL_TOKENS_IN_AN_EMPTY_STEP
        return -scale * math.log(-math.expm1(-work / scale))

    def _recompute(self, request: Any) -> float:
        held = len(request.origin_input_ids) + len(request.output_ids)
        return held / PREFILL_TOKENS_IN_AN_EMPTY_STEP
