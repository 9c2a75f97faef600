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
        super().__init__(replicas, answers=answers)

    def sent(self, index: int, query: Query) -> None:
        """Into the books and the table."""
        super().sent(index, query)
        self._table.insert(index, blocks_of(query.prefix))

    def observe(self, index: int, load: ReplicaLoad) -> None:
        """Into the books."""
        self._report(index, load)

    def set_health(self, index: int, ok: bool) -> None:
        """What an unhealthy replica had cached is forgotten."""
        super().set_health(index, ok)
        if not ok:
            self._table.forget(index)

    def _report(self, index: int, load: ReplicaLoad) -> bool:
        """Whether it was news."""
        if not self._books.observe(index, load):
            return False
        self._table.limit(index, load.capacity_tokens)
        return True

    def _uncached(self, query: Query) -> list[float]:
        """[replicas] prompt tokens that each would have to compute."""
        length = block_count(query.prefix)
        if not length:
            return [float(query.prompt_tokens)] * self.replicas
        depths = self._table.matches(blocks_of(query.prefix))
        # The last token is always computed.
        return [max(1.0, query.prompt_tokens * (1 - depth / length)) for depth in depths]

    def _entry(self, index: int, query: Query) -> Sent:
        entry = super()._entry(index, query)
        entry.uncached = self._uncached(query)[index]
        return entry

    def _added(self, index: int) -> None:
        super()._added(index)
        self._table.add()

    def _removed(self, replicas: int) -> None:
        super()._removed(replicas)
        self._table.cut(replicas)
