"""Errors of the worker: counted always, logged once per kind, never with a prompt's text."""

from __future__ import annotations

import logging
import traceback
from pathlib import PurePath

from sagesched.predict.stats import Counters

_logger = logging.getLogger(__name__)


def describe(error: BaseException) -> str:
    """Type and place of an error; not its message, which may quote a prompt."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


class ErrorLog:
    """Counts each error, and warns about the first one of each kind."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._seen: set[tuple[str, type[BaseException]]] = set()

    def note(self, doing: str, error: BaseException) -> None:
        """Count an error that came up while `doing` something."""
        self._counters.add("errors")
        kind = (doing, type(error))
        if kind not in self._seen:
            self._seen.add(kind)
            _logger.warning(
                "length prediction: %s failed: %s; such requests go on without a prediction. "
                "Further errors of this kind are only counted.",
                doing,
                describe(error),
            )
