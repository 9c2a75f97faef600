"""By the tokens that are still to be computed: predicted ones, or, in a replay, the true ones."""

from __future__ import annotations

from collections.abc import Callable

from sagesched.balance.books import Account
from sagesched.balance.checks import check_number
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
        size = self._mean_size()
        return min(self._candidates(), key=lambda index: self._work(index, size))

    def _mean_size(self) -> float:
        """Tokens of an open request."""
        accounts = self._books.accounts
        count = sum(len(account.open) for account in accounts)
        known = sum(_tokens(account) for account in accounts)
        return known / count if count else UNKNOWN_OUTPUT

    def _work(self, index: int, size: float) -> float:
        account = self._books.accounts[index]
        return _tokens(account) + account.others(self._books.answers) * size


def _tokens(account: Account) -> float:
    return (
        account.prompt + account.output + UNKNOWN_OUTPUT * (len(account.open) - account.predicted)
    )


class Oracle(Prefixed):
    """The replica with the least true work left, which only a replay can know.

    Args:
        replicas: how many there are.
        truth: says it of a replica, with a request added of whose prompt it has to compute so
            many tokens.
        tree_blocks: memory bound of the prefix table, per replica.

    Raises:
        ValueError: there is nobody to ask, or a value that makes no sense.
    """

    name = "oracle"

    def __init__(
        self,
        replicas: int,
        *,
        truth: Callable[[int, float], float] | None = None,
        tree_blocks: int = 65_536,
    ) -> None:
        if truth is None:
            raise ValueError(f"chooser {self.name} is for a replay: it needs the true lengths")
        check_number("tree_blocks", tree_blocks, least=1, whole=True)
        self._truth = truth
        super().__init__(replicas, tree_blocks=tree_blocks)

    def choose(self, query: Query) -> int:
        """The least work."""
        uncached = self._uncached(query)
        return min(self._candidates(), key=lambda index: self._truth(index, uncached[index]))


class OracleStart(Oracle):
    """The replica that would truly start the request soonest: what SAL estimates."""

    name = "oracle_start"
