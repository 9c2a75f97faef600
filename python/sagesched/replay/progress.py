"""How far the runs are, on stderr: one line that changes, or a line per run in a log."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Progress:
    """Counts runs.

    Args:
        stream: where to write; stderr if left out.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._total = 0
        self._done = 0
        self._start = 0.0

    def say(self, text: str) -> None:
        """A line of its own."""
        print(f"sagesched replay: {text}", file=self._stream, flush=True)

    def start(self, total: int) -> None:
        """So many runs will follow."""
        self._total, self._done, self._start = total, 0, time.monotonic()
        if self._live:
            self._show(f"0 of {total} runs")

    def ended(self, name: str, error: str) -> None:
        """One run ended, well or not."""
        self._done += 1
        if error and self._live:
            self._stream.write("\r\x1b[K")
        if error:
            self.say(f"{name} failed")
        count = f"{self._done} of {self._total} runs"
        self._show(f"{count}, {self._left()}" if self._live else f"{count}: {name}")

    def close(self) -> None:
        """Leave the line of progress."""
        if self._live and self._total:
            print(file=self._stream, flush=True)

    def _left(self) -> str:
        seconds = time.monotonic() - self._start
        left = seconds / self._done * (self._total - self._done)
        return f"{_clock(seconds)} so far, about {_clock(left)} to go"

    def _show(self, text: str) -> None:
        line = f"\r\x1b[Ksagesched replay: {text}" if self._live else f"sagesched replay: {text}\n"
        self._stream.write(line)
        self._stream.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"
