"""LTR: order by predicted rank, with a rule against starvation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sagesched.replay.policies.base import Policy
from sagesched.replay.policies.notes import predicted, remembered
from sagesched.replay.policies.preempt import give_way


@dataclass(slots=True)
class _Turn:
    """Steps waited in a row are counted from here; when promoted, at which age that was."""

    waiting_since: int
    promoted_at: int | None = None


class Ltr(Policy):
    """Shortest predicted rank first; who waits too long is promoted for a quantum.

    The paper learns ranks with a small language model (ListMLE). A rank by the mean of
    ``--predictor`` stands for it: only the order matters. The score stays what it was at arrival.
    A request that has waited ``starvation_steps`` in a row goes before all others until it has
    produced ``quantum_tokens``; then it is ranked as before and its wait starts anew.

    Running requests are ranked with the waiting ones, and those that fall out of the batch keep
    their memory as long as nobody needs it, as in the authors' code. What is needed is swapped out
    there; here it is dropped from the radix tree and computed again.

    Settings:
        starvation_steps, quantum_tokens: 200 and 10, from the authors' server command.
        most_victims: per step; the paper has no limit.
    """

    name = "ltr"
    source = (
        "LTR (arXiv 2408.15792) and its code, hao-ai-lab/vllm-ltr; ranker replaced by --predictor"
    )
    uses = "distribution"
    release = "soft"
    settings: ClassVar[Mapping[str, float]] = {
        "starvation_steps": 200.0,
        "quantum_tokens": 10.0,
        "most_victims": 4096.0,
    }

    def key(self, request: Any) -> tuple[int, float]:
        """Promoted first, then predicted output tokens."""
        score = remembered(request, "point", lambda: predicted(self.situation, request).mean())
        return (0 if self._turn(request).promoted_at is not None else 1), score

    def entered(self, request: Any) -> None:
        """Its wait starts."""
        self._turn(request).waiting_since = self.situation.step

    def order(self, waiting: list[Any]) -> None:
        """By key, after promoting whom the time has come for."""
        self._promote(waiting)
        waiting.sort(key=self.key)

    def victims(self, running: Sequence[Any], waiting: Sequence[Any]) -> list[Any]:
        """Those that somebody better waits for."""
        self._promote(waiting)
        self._end_quanta(running)
        return give_way(
            running,
            waiting,
            self.key,
            lambda newcomer, victim: bool(newcomer < victim),
            int(self.values["most_victims"]),
        )

    def _turn(self, request: Any) -> _Turn:
        return remembered(request, "turn", lambda: _Turn(self.situation.step))

    def _promote(self, waiting: Sequence[Any]) -> None:
        for request in waiting:
            turn = self._turn(request)
            waited = self.situation.step - turn.waiting_since
            if turn.promoted_at is None and waited >= self.values["starvation_steps"]:
                turn.promoted_at = len(request.output_ids)

    def _end_quanta(self, running: Sequence[Any]) -> None:
        for request in running:
            turn = self._turn(request)
            if turn.promoted_at is None:
                continue
            if len(request.output_ids) - turn.promoted_at >= self.values["quantum_tokens"]:
                turn.promoted_at = None
