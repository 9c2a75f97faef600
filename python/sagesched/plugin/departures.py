"""Requests that wait for their prediction: an abort that comes meanwhile must not be lost.

SGLang tells the scheduler to abort a request that it may not have been sent yet, and then takes
it for aborted. It sends requests without a pause, so this cannot happen to it; we made the pause.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class Departures:
    """Keys of the requests that are about to leave, and which of them were aborted."""

    def __init__(self) -> None:
        self._aborted: dict[str, bool] = {}

    def begin(self, keys: Iterable[str]) -> None:
        """These requests begin to wait."""
        self._aborted.update(dict.fromkeys(keys, False))

    def abort(self, key: str, *, everything: bool) -> None:
        """An abort was asked for: of one request, or of all of them."""
        for waiting in list(self._aborted) if everything else [key]:
            if waiting in self._aborted:
                self._aborted[waiting] = True

    def end(self, keys: Iterable[str]) -> list[str]:
        """These requests have left (or never will); those that were aborted meanwhile."""
        return [key for key in keys if self._aborted.pop(key, False)]


def repeat_aborts(manager: Any, keys: Iterable[str]) -> None:
    """Ask SGLang's ``TokenizerManager`` again, now that the scheduler knows the requests."""
    for key in keys:
        known = manager.rid_to_state.get(key)
        if known is not None:
            known.abort_sent = False
            manager.abort_request(key)
