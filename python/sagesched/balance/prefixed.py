"""Choosers that know about what each replica has in its prefix cache."""

from __future__ import annotations

from sagesched.balance.books import Sent
from sagesched.balance.counted import Counted
from sagesched.balance.kinds import Query, ReplicaLoad
from sagesched.balance.prefix_table import PrefixTable, block_count, blocks_of


class Prefixed(Counted):
    """Keeps a `PrefixTable` beside the books, of no more than the KV pool of each replica.

    Args:
        replicas: how many there are.
        answers: whether the caller says `finished`.
        tree_blocks: memory bound of the table, per replica.
    """

    def __init__(self, replicas: int, *, answers: bool = True, tree_blocks: int = 65_536) -> None:
        self._table = PrefixTable(tree_blocks)
        self._asked: tuple[Query, list[int], list[float]] | None = None
        super().__init__(replicas, answers=answers)

    def sent(self, index: int, query: Query) -> None:
        """Into the books and the table."""
        super().sent(index, query)
        _, blocks, _ = self._look_up(query)
        self._table.insert(index, blocks)
        self._asked = None

    def observe(self, index: int, load: ReplicaLoad) -> None:
        """Into the books."""
        self._report(index, load)

    def set_health(self, index: int, ok: bool, *, keeps_cache: bool = False) -> None:
        """What an unhealthy replica had cached is forgotten, unless it keeps it."""
        super().set_health(index, ok)
        if not (ok or keeps_cache):
            self._table.forget(index)
            self._asked = None

    def reset(self, index: int) -> None:
        """Its account and its part of the table are empty."""
        super().reset(index)
        self._table.forget(index)
        self._asked = None

    def _report(self, index: int, load: ReplicaLoad) -> bool:
        """Whether it was news."""
        self._check(index)
        if not self._books.observe(index, load):
            return False
        self._table.limit(index, load.capacity_tokens)
        return True

    def _uncached(self, query: Query) -> list[float]:
        """[replicas] prompt tokens that each would have to compute."""
        return self._look_up(query)[2]

    def _look_up(self, query: Query) -> tuple[Query, list[int], list[float]]:
        """Its blocks, too; kept from `choose` to `sent`."""
        if self._asked is not None and self._asked[0] is query:
            return self._asked
        blocks = blocks_of(query.prefix)
        tokens = query.prompt_tokens
        uncached = [float(tokens)] * self.replicas
        if blocks:
            length = block_count(query.prefix)
            for index, depth in self._table.matches(blocks).items():
                # The last token is always computed.
                uncached[index] = max(1.0, tokens * (1 - depth / length))
        self._asked = query, blocks, uncached
        return self._asked

    def _entry(self, index: int, query: Query) -> Sent:
        entry = super()._entry(index, query)
        entry.uncached = self._uncached(query)[index]
        return entry

    def _added(self, index: int) -> None:
        super()._added(index)
        self._table.add()
        self._asked = None

    def _removed(self, replicas: int) -> None:
        super()._removed(replicas)
        self._table.cut(replicas)
        self._asked = None
