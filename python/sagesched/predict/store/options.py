"""Where the history is kept, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

KEEP_FACTOR = 2
KEEP_AT_LEAST = 20_000
"""The file keeps twice the records that one process predicts from, and this many at least: servers
with different settings may share it."""


@dataclass(frozen=True)
class HistoryOptions:
    """A history file.

    Attributes:
        path: the file; it is made where it does not exist, its folder is not.
        capacity: records that the predictor learns from; as many are read back at the start.
        store_text: whether the prompts' text is stored, too.
    """

    path: Path
    capacity: int = 10_000
    store_text: bool = False

    @property
    def keep(self) -> int:
        """Records of one embedder beyond which the oldest are deleted from the file."""
        return max(KEEP_FACTOR * self.capacity, KEEP_AT_LEAST)
