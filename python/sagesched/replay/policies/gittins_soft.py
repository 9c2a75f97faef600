"""The Gittins index by itself: without the shipped policy's anchor, dial and prefix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from sagesched.gittins import gittins_index
from sagesched.replay.policies.base import Policy, Release, Situation
from sagesched.replay.policies.notes import at_age, predicted
from sagesched.replay.policies.preempt import outdone


def index_at(situation: Situation, request: Any, age: int) -> float:
    """Gittins index of the published cost, KV tokens x steps, at an age in tokens."""
    law = predicted(situation, request)
    prompt = len(request.origin_input_ids)
    return float(gittins_index(law.pmf[None], law.grid.edges, age, prompt)[0])


class GittinsAge0(Policy):
    """The index at arrival, waiting requests only."""

    name = "gittins-age0"
    source = "SageSched (arXiv 2603.07917, section 3.2), without its refresh and preemption"
    uses = "distribution"

    def key(self, request: Any) -> float:
        """Index at age 0."""
        return at_age(request, 0, lambda: index_at(self.situation, request, 0))


class GittinsSoft(Policy):
    """The index at the age of now, and preemption that parks the victim's KV in the radix tree.

    Settings:
        margin: a waiting request must be as many times better to take a running one's place.
        most_victims: per step.
        refresh_tokens: the index follows the age in steps of as many tokens.
    """

    name = "gittins-soft"
    source = "SageSched (arXiv 2603.07917, section 3.2); margin and soft release are ours"
    uses = "distribution"
    release: ClassVar[Release] = "soft"
    settings: ClassVar[Mapping[str, float]] = {
        "margin": 4.0,
        "most_victims": 8.0,
        "refresh_tokens": 16.0,
    }

    def key(self, request: Any) -> float:
        """Index at the age of the last refresh."""
        every = max(1, int(self.values["refresh_tokens"]))
        age = len(request.output_ids) // every * every
        return at_age(request, age, lambda: index_at(self.situation, request, age))

    def victims(self, running: Sequence[Any], waiting: Sequence[Any]) -> list[Any]:
        """Those whose index is ``margin`` times that of a waiting one."""
        return outdone(running, waiting, self.key, self.values)
