"""What is known of each recorded request, by its slot in the history."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from sagesched.lengths import Floats
from sagesched.predict.base import Vectors
from sagesched.predict.numbers import UNKNOWN, Numbers
from sagesched.predict.scale import Origin

_Prompt = tuple[bytes, str]
"""Fingerprint and tenant."""


class Records:
    """Columns over slots.

    Attributes:
        vectors: float32[capacity, dim], the prompt's meaning and features.
        log_tokens: [capacity] ln of the output length, of the least possible one if unfinished.
        finished: [capacity] whether the output ended by itself.
        standing: [capacity] on the trend, as far as possible not knowing the record's own length.
        origin: [capacity] number of where it came from.
        origins: those numbers' groups and tenants.
    """

    def __init__(self, dim: int, capacity: int) -> None:
        self.vectors: Vectors = np.zeros((capacity, dim), dtype=np.float32)
        self.log_tokens: Floats = np.zeros(capacity)
        self.finished: NDArray[np.bool_] = np.zeros(capacity, dtype=bool)
        self.standing: Floats = np.zeros(capacity)
        self.origin: NDArray[np.int64] = np.full(capacity, UNKNOWN)
        self.origins: Numbers[Origin] = Numbers()
        self._prompts: list[_Prompt | None] = [None] * capacity
        self._copies: Counter[_Prompt] = Counter()

    def put(
        self,
        slot: int,
        vector: Vectors,
        log_tokens: float,
        finished: bool,
        origin: Origin,
        standing: float,
    ) -> int:
        """Store a record in place of the slot's old one.

        Returns:
            how many records of the same prompt and tenant there are now.
        """
        self.vectors[slot] = vector
        self.log_tokens[slot] = log_tokens
        self.finished[slot] = finished
        self.standing[slot] = standing
        number = self.origins.hold(origin)
        if self.origin[slot] != UNKNOWN:
            self.origins.drop(int(self.origin[slot]))
        self.origin[slot] = number
        fingerprint = blake2b(vector.tobytes(), digest_size=8).digest()
        return self._count_prompt(slot, (fingerprint, origin.tenant))

    def copies(self, slots: NDArray[np.int64]) -> Floats:
        """Of each record [k], how many there are of its prompt and tenant."""
        prompts = [self._prompts[slot] for slot in slots.tolist()]
        return np.array([self._copies[prompt] for prompt in prompts if prompt], dtype=np.float64)

    def _count_prompt(self, slot: int, prompt: _Prompt) -> int:
        old = self._prompts[slot]
        if old is not None:
            self._copies[old] -= 1
            if not self._copies[old]:
                del self._copies[old]
        self._prompts[slot] = prompt
        self._copies[prompt] += 1
        return self._copies[prompt]
