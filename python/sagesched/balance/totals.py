"""SGLang's ``total_requests`` and ``total_tokens``."""

from __future__ import annotations

import math

from sagesched.balance.base import Chooser
from sagesched.balance.checks import is_possible
from sagesched.balance.kinds import Query, ReplicaLoad


class Totals(Chooser):
    """The reported total plus what was sent since the report came, as in SGLang's ``DPBudget``.

    A new report replaces what was added, whether it contains the requests or not.
    """

    def __init__(self, replicas: int) -> None:
        self._requests: list[int] = []
        self._tokens: list[int] = []
        self._newest: list[float] = []
        super().__init__(replicas)

    def sent(self, index: int, query: Query) -> None:
        """One request and its prompt more."""
        self._check(index)
        self._requests[index] += 1
        self._tokens[index] += query.prompt_tokens

    def finished(self, key: str) -> None:
        """The next report shows it."""

    def observe(self, index: int, load: ReplicaLoad) -> None:
        """Replace the totals."""
        self._check(index)
        if load.sequence <= self._newest[index] or not is_possible(load):
            return
        self._newest[index] = load.sequence
        self._requests[index] = load.running + load.waiting
        self._tokens[index] = load.used_tokens + load.waiting_uncached_tokens

    def reset(self, index: int) -> None:
        """Nothing is there until its first report."""
        super().reset(index)
        self._requests[index] = self._tokens[index] = 0
        self._newest[index] = -math.inf

    def _added(self, index: int) -> None:
        self._requests.append(0)
        self._tokens.append(0)
        self._newest.append(-math.inf)

    def _removed(self, replicas: int) -> None:
        for column in (self._requests, self._tokens, self._newest):
            del column[replicas:]


class TotalRequests(Totals):
    """The replica with the fewest requests, running and waiting; the first of several."""

    name = "total_requests"

    def choose(self, query: Query) -> int:
        """Fewest requests."""
        return min(self._candidates(), key=self._requests.__getitem__)


class TotalTokens(Totals):
    """The replica with the fewest tokens, used and waiting; then the fewest requests."""

    name = "total_tokens"

    def choose(self, query: Query) -> int:
        """Fewest tokens."""
        return min(self._candidates(), key=lambda i: (self._tokens[i], self._requests[i]))
