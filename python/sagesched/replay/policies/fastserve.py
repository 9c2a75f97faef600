"""FastServe: a skip-join multi-level feedback queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sagesched.cost import PREFILL_TOKENS_IN_AN_EMPTY_STEP
from sagesched.replay.policies.base import Policy
from sagesched.replay.policies.notes import remembered
from sagesched.replay.policies.preempt import give_way


@dataclass(slots=True)
class _Place:
    """Since when it waits, seconds; and at which age it was last promoted, tokens."""

    waiting_since: float
    promoted_at: int | None = None


class FastServe(Policy):
    """Levels of growing quanta; a request joins the first level whose quantum holds its prefill.

    Service is counted in decode steps: a prompt's prefill takes one per 150 tokens (the stated
    constant of :mod:`sagesched.cost`), at least one, and every further token takes one. Who has
    used up a level's quantum goes to the next level; within a level arrival decides; a lower level
    is preempted for a higher one. Who has waited ``starvation_s`` goes to the top level.

    The paper moves KV to the host and back ahead of need, hidden behind computing; here moving is
    free. In the paper a request rejoins the batch at no cost; here that takes a prefill step, which
    is dear without mixed prefill: with a first quantum of one step, as in the paper, much of the
    time then goes into switching. Left open in the paper: the numbers below. The rescue of the
    starving lowers the P99 and costs some of the mean; ``starvation_s`` of 1e9 turns it off.

    Settings:
        quantum_steps: quantum of the top level, decode steps.
        ratio: of a level's quantum to that of the level above.
        levels: the last one has no quantum.
        starvation_s: 3, from the implementation in hao-ai-lab/vllm-ltr.
        most_victims: per step; the paper has no limit.
    """

    name = "fastserve"
    source = "FastServe (arXiv 2305.05920, skip-join MLFQ); proactive swapping taken as free"
    release = "swap"
    swap_is_free = True
    settings: ClassVar[Mapping[str, float]] = {
        "quantum_steps": 1.0,
        "ratio": 2.0,
        "levels": 12.0,
        "starvation_s": 3.0,
        "most_victims": 4096.0,
    }
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **Policy.limits,
        "quantum_steps": (0.01, 1e9),
        "ratio": (1.01, 1e6),
        "levels": (1.0, 100.0),
    }

    def key(self, request: Any) -> tuple[int, int]:
        """Level, then arrival."""
        return self._level(request), self.situation.known(request).number

    def entered(self, request: Any) -> None:
        """Its wait starts."""
        self._place(request).waiting_since = self.situation.now_s

    def order(self, waiting: list[Any]) -> None:
        """By key, after promoting the starving."""
        self._promote(waiting)
        waiting.sort(key=self.key)

    def victims(self, running: Sequence[Any], waiting: Sequence[Any]) -> list[Any]:
        """Those on a lower level than somebody who waits."""
        self._promote(waiting)
        return give_way(
            running,
            waiting,
            self.key,
            lambda newcomer, victim: bool(newcomer[0] < victim[0]),
            int(self.values["most_victims"]),
        )

    def _place(self, request: Any) -> _Place:
        return remembered(request, "place", lambda: _Place(self.situation.now_s))

    def _promote(self, waiting: Sequence[Any]) -> None:
        for request in waiting:
            place = self._place(request)
            if self.situation.now_s - place.waiting_since >= self.values["starvation_s"]:
                place.promoted_at = len(request.output_ids)

    def _level(self, request: Any) -> int:
        """The level that its service so far has led to."""
        promoted_at = self._place(request).promoted_at
        age = len(request.output_ids)
        if promoted_at is not None:
            return self._descend(0, age - promoted_at)
        first = max(1.0, len(request.origin_input_ids) / PREFILL_TOKENS_IN_AN_EMPTY_STEP)
        return self._descend(self._joins(first), first + age - 1 if age else 0.0)

    def _joins(self, first_iteration: float) -> int:
        """The top level whose quantum is no shorter than the first iteration."""
        level, quantum = 0, self.values["quantum_steps"]
        while quantum < first_iteration and level < self.values["levels"] - 1:
            level, quantum = level + 1, quantum * self.values["ratio"]
        return level

    def _descend(self, level: int, service: float) -> int:
        """Where a request is that joined a level and has had some service since, in steps."""
        quantum = self.values["quantum_steps"] * self.values["ratio"] ** level
        while service >= quantum and level < self.values["levels"] - 1:
            service -= quantum
            level, quantum = level + 1, quantum * self.values["ratio"]
        return level
