"""Choosers that count what is open at each replica."""

from __future__ import annotations

import math

from sagesched.balance.base import Chooser
from sagesched.balance.books import Books, Sent
from sagesched.balance.kinds import Query, ReplicaLoad

MOST_OUTPUT = 1e9
"""Tokens; beside more the sums of all others would be lost."""


def output_of(query: Query) -> float:
    """Predicted output, tokens; NaN where there is none, or none that can be."""
    output = query.expected_output
    return output if output is not None and 0 <= output <= MOST_OUTPUT else math.nan


class Counted(Chooser):
    """Keeps `Books`.

    Args:
        replicas: how many there are.
        answers: whether the caller says `finished`.
    """

    def __init__(self, replicas: int, *, answers: bool = True) -> None:
        self._books = Books(answers)
        super().__init__(replicas)

    def sent(self, index: int, query: Query) -> None:
        """Into the books."""
        self._check(index)
        self._books.sent(index, query.key, self._entry(index, query))

    def finished(self, key: str) -> None:
        """Out of the books."""
        self._books.finished(key)

    def observe(self, index: int, load: ReplicaLoad) -> None:
        """Into the books."""
        self._check(index)
        self._books.observe(index, load)

    def reset(self, index: int) -> None:
        """Its account is empty."""
        super().reset(index)
        self._books.reset(index)

    def _entry(self, index: int, query: Query) -> Sent:
        tokens = query.prompt_tokens
        sent_s = math.nan if query.sent_s is None else query.sent_s
        return Sent(index, tokens, tokens, output_of(query), 0, sent_s)

    def _requests(self, index: int) -> int:
        """Running, waiting and on their way."""
        account = self._books.accounts[index]
        load = account.load
        seen = 0 if load is None else load.running + load.waiting
        return seen + account.unseen(self._books.answers)

    def _added(self, index: int) -> None:
        self._books.add()

    def _removed(self, replicas: int) -> None:
        self._books.cut(replicas)
