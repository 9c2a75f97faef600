"""What is known of each recorded request, by its slot in the history."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from sagesched.lengths import Floats
from sagesched.predict.base import Vectors


def _fingerprint(vector: Vectors) -> int:
    return int.from_bytes(blake2b(vector.tobytes(), digest_size=8).digest(), "little")


class Records:
    """Columns over slots.

    Attributes:
        vectors: float32[capacity, dim], the prompt's meaning and features.
        log_tokens: [capacity] ln of the output length, of the least possible one if unfinished.
        finished: [capacity] whether the output ended by itself.
        standing: [capacity] on the trend, as far as possible not knowing the record's own length.
        group: [capacity] number of its group, in ``group_names``.
    """

    def __init__(self, dim: int, capacity: int) -> None:
        self.vectors: Vectors = np.zeros((capacity, dim), dtype=np.float32)
        self.log_tokens: Floats = np.zeros(capacity)
        self.finished: NDArray[np.bool_] = np.zeros(capacity, dtype=bool)
        self.standing: Floats = np.zeros(capacity)
        self.group: NDArray[np.int64] = np.zeros(capacity, dtype=np.int64)
        self.group_names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._prompts: list[int | None] = [None] * capacity
        self._copies: Counter[int] = Counter()

    def put(
        self,
        slot: int,
        vector: Vectors,
        log_tokens: float,
        finished: bool,
        group: str,
        standing: float,
    ) -> int:
        """Store a record in place of the slot's old one.

        Returns:
            how many records of the same prompt there are now.
        """
        self.vectors[slot] = vector
        self.log_tokens[slot] = log_tokens
        self.finished[slot] = finished
        self.standing[slot] = standing
        if group not in self._numbers:
            self._numbers[group] = len(self.group_names)
            self.group_names.append(group)
        self.group[slot] = self._numbers[group]
        return self._count_prompt(slot, _fingerprint(vector))

    def group_number(self, group: str) -> int:
        """-1 for a group without records."""
        return self._numbers.get(group, -1)

    def _count_prompt(self, slot: int, prompt: int) -> int:
        old = self._prompts[slot]
        if old is not None:
            self._copies[old] -= 1
            if not self._copies[old]:
                del self._copies[old]
        self._prompts[slot] = prompt
        self._copies[prompt] += 1
        return self._copies[prompt]
