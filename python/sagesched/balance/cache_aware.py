"""To where the prefix is cached, unless the load is uneven: as SGLang's gateway does it."""

from __future__ import annotations

from sagesched.balance.checks import check_number
from sagesched.balance.counted import Counted
from sagesched.balance.kinds import Query
from sagesched.balance.prefix_table import PrefixTable, block_count, blocks_of


class CacheAware(Counted):
    """The gateway's ``cache_aware`` policy, over an approximate prefix table.

    If the open requests differ by more than ``imbalance`` and by a factor of more than ``ratio``,
    the replica with the fewest; else the one that has seen the longest part of the prompt, if that
    is more than ``threshold`` of it; else the one with the fewest.

    Args:
        replicas: how many there are.
        threshold: share of the prompt that must match.
        imbalance: requests.
        ratio: of the most to the fewest requests.
        tree_blocks: memory bound of the table, per replica.
        answers: whether the caller says `finished`.

    Raises:
        ValueError: a value that makes no sense.
    """

    name = "cache_aware"

    def __init__(
        self,
        replicas: int,
        *,
        threshold: float = 0.5,
        imbalance: int = 32,
        ratio: float = 1.1,
        tree_blocks: int = 65_536,
        answers: bool = True,
    ) -> None:
        check_number("threshold", threshold, least=0, most=1)
        check_number("imbalance", imbalance, least=0)
        check_number("ratio", ratio, least=0)
        check_number("tree_blocks", tree_blocks, least=1, whole=True)
        self._threshold, self._imbalance, self._ratio = threshold, imbalance, ratio
        self._table = PrefixTable(tree_blocks)
        self._asked: tuple[Query, list[int]] | None = None
        super().__init__(replicas, answers=answers)

    def choose(self, query: Query) -> int:
        """By prefix, or by load."""
        counts = {index: self._requests(index) for index in self._candidates()}
        fewest = min(counts, key=counts.__getitem__)
        low, high = counts[fewest], max(counts.values())
        if high - low > self._imbalance and high > low * self._ratio:
            return fewest
        depths = self._table.matches(self._blocks_of(query))
        best = max(counts, key=lambda index: (depths.get(index, 0), -counts[index]))
        length = block_count(query.prefix)
        return best if length and depths.get(best, 0) > self._threshold * length else fewest

    def sent(self, index: int, query: Query) -> None:
        """Into the table, too."""
        super().sent(index, query)
        self._table.insert(index, self._blocks_of(query))

    def set_health(self, index: int, ok: bool, *, keeps_cache: bool = False) -> None:
        """What an unhealthy replica had cached is forgotten, unless it keeps it."""
        super().set_health(index, ok)
        if not (ok or keeps_cache):
            self._table.forget(index)

    def reset(self, index: int) -> None:
        """Its account and its part of the table are empty."""
        super().reset(index)
        self._table.forget(index)

    def _blocks_of(self, query: Query) -> list[int]:
        """Kept from `choose` to `sent`."""
        if self._asked is None or self._asked[0] is not query:
            self._asked = query, blocks_of(query.prefix)
        return self._asked[1]

    def _added(self, index: int) -> None:
        super()._added(index)
        self._table.add()

    def _removed(self, replicas: int) -> None:
        super()._removed(replicas)
        self._table.cut(replicas)
