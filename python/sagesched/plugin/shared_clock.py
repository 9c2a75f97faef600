"""Seconds that all ranks count alike.

A rank's own clock must not decide anything: another rank's shows another time. But requests carry
the time at which they were sent, the same on every rank, and between two of them time passes at the
pace of the engine's work so far: its steps, of which those that prefill take longer.
"""

from __future__ import annotations

from collections import deque

FOLLOWED = 64
"""The pace is that of as many requests, the last ones."""
LEAST_STEPS = 8
"""Of what was sent at once and taken in within fewer steps nothing is learned of the pace."""
FIRST_STEP_S = 0.02
"""A step's seconds before anything was seen."""
PREFILL_TOKENS_IN_A_STEP = 400.0
"""Prompt tokens that take as long as a step more; an engine without other work needs fewer, but up
to some hundreds are hidden behind a step's decoding."""


class SharedClock:
    """Of one scheduler process; a function of the requests and the engine's work."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, float, float]] = deque(maxlen=FOLLOWED)  # step, work, seconds
        self._step_s = FIRST_STEP_S

    def saw(
        self, sent_s: float, step: int, prefilled_tokens: int = 0, *, idle: bool = False
    ) -> None:
        """A request came now and says when it was sent; an older one says nothing new.

        Args:
            sent_s: seconds, by the clock of who sends.
            step: the engine's step count.
            prefilled_tokens: prompt tokens it has computed.
            idle: nobody ran or waited: the engine made no steps while time went by, which says
                nothing of their pace.
        """
        if self._seen and sent_s <= self._seen[-1][2]:
            return
        if idle:
            self._seen.clear()
        work = _work(step, prefilled_tokens)
        self._seen.append((step, work, sent_s))
        first_step, first, first_s = self._seen[0]
        if step - first_step >= LEAST_STEPS:
            self._step_s = (sent_s - first_s) / (work - first)

    def at(self, step: int, prefilled_tokens: int = 0) -> float:
        """Seconds of now, on the clock of who sends the requests."""
        work = _work(step, prefilled_tokens)
        if not self._seen:
            return work * FIRST_STEP_S
        _, last, last_s = self._seen[-1]
        return last_s + (work - last) * self._step_s


def _work(step: int, prefilled_tokens: int) -> float:
    """What the engine has done, in decode steps."""
    return step + prefilled_tokens / PREFILL_TOKENS_IN_A_STEP
