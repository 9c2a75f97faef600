"""Policies that know the true output lengths: how far prediction could ever get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from sagesched.cost import CostModel
from sagesched.replay.policies.base import Policy
from sagesched.replay.policies.notes import uncached_prompt
from sagesched.replay.policies.preempt import outdone

COST = CostModel()
"""The published cost, KV tokens x steps."""


class OracleSjf(Policy):
    """True cost at arrival, ``O^2/2 + I*O``; waiting requests only."""

    name = "oracle-sjf"
    source = "shortest job first, with the cost of SageSched (arXiv 2603.07917, section 3.2)"
    uses = "truth"

    def key(self, request: Any) -> float:
        """Cost of the whole request."""
        truth = self.situation.known(request).output_tokens
        return COST.remaining(truth, prompt_len=len(request.origin_input_ids))


class OracleSrpt(Policy):
    """True remaining cost; waiting requests only (it matters after a retraction)."""

    name = "oracle-srpt"
    source = "shortest remaining processing time (Schrage 1968), without preemption"
    uses = "truth"

    def key(self, request: Any) -> float:
        """Cost of the rest."""
        truth, age = self.situation.known(request).output_tokens, len(request.output_ids)
        return COST.remaining(max(truth, age), age, len(request.origin_input_ids))


class OracleSrptSoft(OracleSrpt):
    """The same with preemption that parks the victim's KV in the radix tree.

    Settings:
        margin: a waiting request must be as many times better to take a running one's place.
        most_victims: per step.
    """

    name = "oracle-srpt-soft"
    source = "shortest remaining processing time (Schrage 1968); margin and soft release are ours"
    release = "soft"
    settings: ClassVar[Mapping[str, float]] = {"margin": 4.0, "most_victims": 8.0}

    def victims(self, running: Sequence[Any], waiting: Sequence[Any]) -> list[Any]:
        """Those whose remaining cost is ``margin`` times that of a waiting one."""
        return outdone(running, waiting, self.key, self.values)


class Svf(Policy):
    """Smallest true volume first: the KV token-steps that the request will take from the pool.

    Unlike the cost above it counts step by step, and not the prefix that the radix cache holds
    anyway. Waiting requests only.
    """

    name = "svf"
    source = "smallest volume first (arXiv 2606.22327); the cached prefix is left out of the volume"
    uses = "truth"

    def key(self, request: Any) -> float:
        """Volume, KV tokens x steps."""
        truth = self.situation.known(request).output_tokens
        return truth * uncached_prompt(self.situation, request) + truth * (truth - 1) / 2
