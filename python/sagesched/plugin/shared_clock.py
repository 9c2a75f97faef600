"""Seconds that all ranks count alike.

A rank's own clock must not decide anything: another rank's shows another time. But requests carry
the time at which they were sent, the same on every rank, and between two of them time passes at the
pace of the engine's steps so far.
"""

from __future__ import annotations

from collections import deque

FOLLOWED = 64
"""The pace is that of as many requests, the last ones."""
LEAST_STEPS = 8
"""Of what was sent at once and taken in within fewer steps nothing is learned of the pace."""
FIRST_STEP_S = 0.02
"""A step's seconds before anything was seen."""


class SharedClock:
    """Of one scheduler process; a function of the requests and the engine's steps."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, float]] = deque(maxlen=FOLLOWED)  # step, seconds
        self._step_s = FIRST_STEP_S

    def saw(self, sent_s: float, step: int, idle: bool = False) -> None:
        """A request came in that step and says when it was sent; an older one says nothing new.

        Args:
            sent_s: seconds, by the clock of who sends.
            step: the engine's step count.
            idle: nobody ran or waited: the engine made no steps while time went by, which says
                nothing of their pace.
        """
        if self._seen and sent_s <= self._seen[-1][1]:
            return
        if idle:
            self._seen.clear()
        self._seen.append((step, sent_s))
        first_step, first_s = self._seen[0]
        if step - first_step >= LEAST_STEPS:
            self._step_s = (sent_s - first_s) / (step - first_step)

    def at(self, step: int) -> float:
        """Seconds at a step of now, on the clock of who sends the requests."""
        if not self._seen:
            return step * FIRST_STEP_S
        last_step, last_s = self._seen[-1]
        return last_s + (step - last_step) * self._step_s
