"""LARRY: arrival order that turns into small-first as memory gets scarce."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from sagesched.replay.policies.base import Policy


class Larry(Policy):
    """Waiting requests by a mix of their place by arrival and their place by prompt length.

    The paper ranks by the memory a request needs, estimated from its prompt, and by load: large
    requests step back when memory is under pressure. The published text at our disposal does not
    give the formula, so this is a rendering of its idea, not its code::

        key = (1 - load) * place by arrival + load * place by prompt length

    with ``load = min(1, prompt tokens waiting / pool)``. Places make the two comparable without a
    constant. No preemption, as there.

    Settings:
        strength: factor on the load.
    """

    name = "larry"
    source = "LARRY (arXiv 2410.17840); idea only, its formula was not at hand"
    settings: ClassVar[Mapping[str, float]] = {"strength": 1.0}

    def order(self, waiting: list[Any]) -> None:
        """By the mixed place; ties by arrival."""
        waiting.sort(key=lambda request: self.situation.known(request).number)
        by_size = sorted(range(len(waiting)), key=lambda i: len(waiting[i].origin_input_ids))
        load = self._load(waiting)
        places = [0.0] * len(waiting)
        for size_place, i in enumerate(by_size):
            places[i] = (1.0 - load) * i + load * size_place
        waiting[:] = [waiting[i] for i in sorted(range(len(waiting)), key=places.__getitem__)]

    def _load(self, waiting: list[Any]) -> float:
        tokens = sum(len(request.origin_input_ids) for request in waiting)
        return min(1.0, self.values["strength"] * tokens / self.situation.pool_tokens)
