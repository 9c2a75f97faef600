"""What is known of each recorded request, by its slot in the history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sagesched.lengths import Floats
from sagesched.predict.base import Vectors
from sagesched.predict.numbers import UNKNOWN, Numbers
from sagesched.predict.scale import Origin, Scale

_Prompt = tuple[bytes, str]
"""Fingerprint and tenant."""


class Forgetful(Protocol):
    """Knows something of origins and groups."""

    def forget(self, origin: Origin) -> None:
        """It has no records left."""

    def forget_group(self, group: str) -> None:
        """It has no records left."""


class Records:
    """Columns over slots.

    Attributes:
        vectors: float32[capacity, dim], the prompt's meaning and features.
        log_tokens: [capacity] ln of the output length, of the least possible one if unfinished.
        finished: [capacity] whether the output ended by itself.
        standing: [capacity] on the trend, as far as possible not knowing the record's own length.
        origin: [capacity] number of where it came from.
        origins: those numbers' groups and tenants.
        groups: all groups that have records.

    Args:
        dim, capacity: of the vectors.
        known_by: what forgets an origin or a group that has no records left.
    """

    def __init__(self, dim: int, capacity: int, known_by: Sequence[Forgetful] = ()) -> None:
        self.vectors: Vectors = np.zeros((capacity, dim), dtype=np.float32)
        self.log_tokens: Floats = np.zeros(capacity)
        self.finished: NDArray[np.bool_] = np.zeros(capacity, dtype=bool)
        self.standing: Floats = np.zeros(capacity)
        self.origin: NDArray[np.int64] = np.full(capacity, UNKNOWN)
        self.origins: Numbers[Origin] = Numbers()
        self.groups: Numbers[str] = Numbers()
        self._centre = np.zeros(capacity + 1)  # of the scale, by number of the origin
        self._spread = np.ones(capacity + 1)
        self._group: NDArray[np.int64] = np.full(capacity + 1, UNKNOWN)
        self._known_by = known_by
        self._named = 0
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
        self._group[number] = self.groups.hold(origin.group)
        self._named += origin.tenant != ""
        if self.origin[slot] != UNKNOWN:
            self._drop(int(self.origin[slot]))
        self.origin[slot] = number
        fingerprint = blake2b(vector.tobytes(), digest_size=8).digest()
        return self._count_prompt(slot, (fingerprint, origin.tenant))

    def note_scale(self, origin: Origin, scale: Scale) -> None:
        """What the scores of an origin's records are in from now on."""
        number = self.origins.of(origin)
        if number != UNKNOWN:
            self._centre[number], self._spread[number] = scale.centre, scale.spread

    def noted_scale(self, origin: Origin) -> Scale | None:
        """The same; None for an origin without records."""
        number = self.origins.of(origin)
        if number == UNKNOWN:
            return None
        return Scale(float(self._centre[number]), float(self._spread[number]))

    @property
    def columns(
        self,
    ) -> tuple[
        Floats, Floats, NDArray[np.bool_], NDArray[np.int64], Floats, Floats, NDArray[np.int64]
    ]:
        """What `_core.weigh` takes as ``past``."""
        own = (self.log_tokens, self.standing, self.finished, self.origin)
        return (*own, self._centre, self._spread, self._group)

    def scores(self, slots: NDArray[np.int64]) -> Floats:
        """Standard scores of records [k], each in the scale of its own origin."""
        number = self.origin[slots]
        return np.asarray((self.log_tokens[slots] - self._centre[number]) / self._spread[number])

    def origins_of(self, slots: NDArray[np.int64]) -> list[Origin]:
        """Of records [k]."""
        return list(map(self.origins.name, self.origin[slots].tolist()))

    def of_tenant(self, slots: NDArray[np.int64], tenant: str) -> NDArray[np.bool_]:
        """Of each record [k], whether it is the tenant's."""
        return self._each(slots, lambda origin: origin.tenant == tenant)

    def _each(self, slots: NDArray[np.int64], test: Callable[[Origin], bool]) -> NDArray[np.bool_]:
        numbers = self.origin[slots]
        if len(self.origins) == 1:  # most servers have one group and no tenants
            return np.full(len(numbers), len(numbers) > 0 and test(self.origins.name(numbers[0])))
        known, of = np.unique(numbers, return_inverse=True)
        return np.array([test(self.origins.name(n)) for n in known.tolist()], dtype=bool)[of]

    @property
    def has_tenants(self) -> bool:
        """Whether any record names its tenant: then those that do not are a tenant's, too."""
        return self._named > 0

    def _drop(self, number: int) -> None:
        origin = self.origins.name(number)
        self._named -= origin.tenant != ""
        last = self.origins.drop(number)
        last_of_group = self.groups.drop(self.groups.of(origin.group))
        for knows in self._known_by:
            if last:
                knows.forget(origin)
            if last_of_group:
                knows.forget_group(origin.group)

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
