"""Names by number, so that columns of the history can hold them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

Name = TypeVar("Name", bound=Hashable)

UNKNOWN = -1


class Numbers(Generic[Name]):
    """The names that records bear, numbered from 0; a name without records is forgotten.

    So there are never more numbers than records, whatever names a client makes up.
    """

    def __init__(self) -> None:
        self._of: dict[Name, int] = {}
        self._names: list[Name] = []
        self._records: list[int] = []
        self._free: list[int] = []

    def of(self, name: Name) -> int:
        """Its number; `UNKNOWN` for a name without records."""
        return self._of.get(name, UNKNOWN)

    def name(self, number: int) -> Name:
        """The name of a number that is in use."""
        return self._names[number]

    def hold(self, name: Name) -> int:
        """One more record bears the name."""
        number = self._of.get(name)
        if number is None:
            number = self._free.pop() if self._free else len(self._names)
            if number == len(self._names):
                self._names.append(name)
                self._records.append(0)
            self._names[number] = name
            self._of[name] = number
        self._records[number] += 1
        return number

    def held(self, name: Name) -> int:
        """How many records bear the name."""
        number = self.of(name)
        return 0 if number == UNKNOWN else self._records[number]

    def drop(self, number: int) -> bool:
        """One record less; True if it was the last one, and the name is forgotten."""
        self._records[number] -= 1
        if self._records[number]:
            return False
        del self._of[self._names[number]]
        self._free.append(number)
        return True

    def __len__(self) -> int:
        return len(self._of)
