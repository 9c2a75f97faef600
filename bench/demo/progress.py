"""Progress on the terminal: one line that moves, or a few plain lines in a log."""

from __future__ import annotations

import sys
import time

PLAIN_STEPS = 4


class Progress:
    """Counts finished requests of one phase; call it with the number that are done."""

    def __init__(self, label: str, total: int) -> None:
        self._label = label
        self._total = total
        self._start = time.monotonic()
        self._shown = -1
        self._moving = sys.stdout.isatty()

    def __call__(self, done: int) -> None:
        step = done * (100 if self._moving else PLAIN_STEPS) // self._total
        if step == self._shown and done != self._total:
            return
        self._shown = step
        seconds = time.monotonic() - self._start
        line = f"  {self._label}: {done}/{self._total} requests, {seconds:.0f} s"
        if self._moving:
            print(f"\r{line}\x1b[K", end="\n" if done == self._total else "", flush=True)
        else:
            print(line, flush=True)


def say(text: str) -> None:
    """Print one line at once, also into a pipe."""
    print(text, flush=True)
