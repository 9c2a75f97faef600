"""By the tokens that are still to be computed: predicted ones, or, in a replay, the true ones."""

from __future__ import annotations

from collections.abc import Callable

from sagesched.balance.counted import Counted
from sagesched.balance.kinds import Query
from sagesched.balance.prefixed import Prefixed

UNKNOWN_OUTPUT = 256.0
"""Tokens, where no length is predicted."""


class ShortestPredicted(Counted):
    """The replica with the fewest tokens, prompt and predicted output, of open requests.

    Requests of other routers, which only reports show, count as the mean of the known ones.
    """

    name = "shortest_predicted"
    reads_predictions = True

    def choose(self, query: Query) -> int:
        """Fewest tokens."""
        return min(self._candidates(), key=self._work)

    def _work(self, index: int) -> float:
        account = self._books.accounts[index]
        known = account.prompt + account.output
        known += UNKNOWN_OUTPUT * (len(account.open) - account.predicted)
        count = len(account.open)
        return known * self._requests(index) / count if count else float(self._requests(index))


class Oracle(Prefixed):
    """The replica with the least true work left, which only a replay can know.

    Args:
        replicas: how many there are.
        work_s: says it of a replica, in seconds, with a request added of whose prompt it has to
            compute so many tokens.
        tree_blocks: memory bound of the prefix table, per replica.

    Raises:
        ValueError: there is nobody to ask.
    """

    name = "oracle"

    def __init__(
        self,
        replicas: int,
        *,
        work_s: Callable[[int, float], float] | None = None,
        tree_blocks: int = 65_536,
    ) -> None:
        if work_s is None:
            raise ValueError("chooser oracle is for a replay: it needs the true work left")
        self._work_s = work_s
        super().__init__(replicas, tree_blocks=tree_blocks)

    def choose(self, query: Query) -> int:
        """The least work."""
        uncached = self._uncached(query)
        return min(self._candidates(), key=lambda index: self._work_s(index, uncached[index]))
