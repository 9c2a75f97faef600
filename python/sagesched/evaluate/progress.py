"""How far an evaluation is, on stderr: a line that changes, or now and then a line of a log."""

from __future__ import annotations

import sys
import time
from typing import TextIO

EVERY_S = 10.0
"""Between two lines where stderr is not a terminal."""


class Progress:
    """Says how much of each step is done.

    Args:
        stream: where to write; stderr if left out.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._last = time.monotonic()

    def show(self, what: str, done: int, total: int) -> None:
        """So much of something is done."""
        text = f"sagesched evaluate: {what}: {done:,} of {total:,}"
        if self._live:
            self._stream.write(f"\r\x1b[K{text}")
            self._stream.flush()
        elif time.monotonic() - self._last >= EVERY_S:
            self._last = time.monotonic()
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Remove the line that changes."""
        if self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
