"""Which replica has seen which prompts: prefixes by block, of bounded size."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence

TOKENS_PER_BLOCK = 32
BYTES_PER_TOKEN = 4
"""Of English text; a prompt that comes as bytes has blocks of about as many tokens."""


def blocks_of(prefix: Sequence[int] | bytes) -> list[int]:
    """Of each full block a number that stands for it and all before it."""
    if isinstance(prefix, bytes):
        data, size = prefix, TOKENS_PER_BLOCK * BYTES_PER_TOKEN
    else:
        ids = prefix if isinstance(prefix, array) else array("q", prefix)
        data, size = ids.tobytes(), TOKENS_PER_BLOCK * ids.itemsize
    number = 0
    found = []
    for start in range(0, len(data) - size + 1, size):
        number = hash((number, data[start : start + size]))
        found.append(number)
    return found


def block_count(prefix: Sequence[int] | bytes) -> float:
    """Length in blocks, the last one in part."""
    per_block = TOKENS_PER_BLOCK * (BYTES_PER_TOKEN if isinstance(prefix, bytes) else 1)
    return len(prefix) / per_block


class PrefixTable:
    """An approximate prefix tree over all replicas, as routers keep it: they see no caches.

    A tree of whole blocks is a table: the number of a block stands for the path to it. Per replica
    the blocks not used for longest, deepest first, are forgotten beyond its limit.

    Args:
        blocks: limit per replica until `limit` says otherwise.
    """

    def __init__(self, blocks: int) -> None:
        self._default = blocks
        self._limits: list[int] = []
        self._used: list[OrderedDict[int, None]] = []
        self._holders: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._holders)

    def add(self) -> None:
        """A replica joined; it has seen nothing."""
        self._used.append(OrderedDict())
        self._limits.append(self._default)

    def cut(self, replicas: int) -> None:
        """Those from ``replicas`` on are gone."""
        for index in range(replicas, len(self._used)):
            self.forget(index)
        del self._used[replicas:], self._limits[replicas:]

    def limit(self, index: int, tokens: int) -> None:
        """A replica's cache holds so many tokens."""
        self._limits[index] = max(1, min(self._default, int(tokens // TOKENS_PER_BLOCK)))

    def forget(self, index: int) -> None:
        """A replica starts anew; how much it holds is not known yet."""
        self._limits[index] = self._default
        used = self._used[index]
        while used:
            self._drop(index, used.popitem()[0])

    def matches(self, blocks: Sequence[int]) -> dict[int, int]:
        """How many of the blocks, from the first on, each replica has seen that has seen any."""
        if not blocks:
            return {}
        depths: dict[int, int] = {}
        holders = self._holders.get(blocks[0], 0)
        for depth, number in enumerate(blocks):
            still = holders & self._holders.get(number, 0)
            if still != holders:
                _note(depths, holders & ~still, depth)
                holders = still
            if not still:
                return depths
        _note(depths, holders, len(blocks))
        return depths

    def insert(self, index: int, blocks: Sequence[int]) -> None:
        """A replica gets a prompt of these blocks."""
        used, bit = self._used[index], 1 << index
        limit = self._limits[index]
        for number in reversed(blocks[:limit]):
            if number in used:
                used.move_to_end(number)
            else:
                used[number] = None
                self._holders[number] = self._holders.get(number, 0) | bit
        while len(used) > limit:
            self._drop(index, used.popitem(last=False)[0])

    def _drop(self, index: int, number: int) -> None:
        left = self._holders[number] & ~(1 << index)
        if left:
            self._holders[number] = left
        else:
            del self._holders[number]


def _note(depths: dict[int, int], replicas: int, depth: int) -> None:
    while replicas:
        lowest = replicas & -replicas
        depths[lowest.bit_length() - 1] = depth
        replicas ^= lowest
