"""Engine steps of an even length: what a GPU has, and shared CPU cores have not.

A step of the tiny model is pure CPU work, on cores that it shares with the tokenizer, the client
and whatever else the machine does, and their speed changes by a quarter from one minute to the
next. At 1.2 times saturation 5 % of speed is a third of the queue, so that the machine's mood
would decide between two policies. With a pace the engine waits, off the CPU, until a step has
lasted as long as it should: the GPU's place in the demo.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

STEP_VARIABLE = "CPU_ENGINE_STEP_MS"


class Pace:
    """Steps that end ``step_s`` seconds apart where they take less; 0 changes nothing.

    A sleep that took too long shortens the next step; a step that did is not made up for.
    """

    def __init__(
        self,
        step_s: float,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._step_s = step_s
        self._clock = clock
        self._sleep = sleep
        self._due = 0.0

    @classmethod
    def from_environment(cls) -> Pace:
        """The pace that ``EngineServer(step_ms=...)`` asks for."""
        return cls(float(os.environ.get(STEP_VARIABLE) or 0.0) / 1e3)

    def end_step(self) -> None:
        """Return when the step in progress may end."""
        if self._step_s <= 0.0:
            return
        now = self._clock()
        if now < self._due:
            self._sleep(self._due - now)
        # Counted from when it was due: what a sleep takes too long is made up for.
        self._due = max(now, self._due) + self._step_s
