"""Errors of ``sagesched history``, in plain words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sagesched.predict.store.file import HistoryFile
from sagesched.predict.store.opening import open_history
from sagesched.predict.store.schema import UnusableFileError


class HistoryError(Exception):
    """Something the user can put right; the message says what."""


@contextmanager
def opened(path: Path, *, create: bool = False) -> Iterator[HistoryFile]:
    """A history file, opened; never renamed, and made only where asked for.

    Raises:
        HistoryError: it is missing or cannot be used.
    """
    if not create and not path.exists():
        raise HistoryError(f"{path}: no such file; --file says which one")
    try:
        file = open_history(path, create=create)
    except UnusableFileError as error:
        raise HistoryError(f"{path}: {error}; it was left as it is") from None
    try:
        yield file
    finally:
        file.close()


def in_words(error: Exception) -> str:
    """What went wrong, and what to do where that is known."""
    if isinstance(error, sqlite3.OperationalError):
        if "locked" in str(error):
            return "another process is writing to the file; try again in a moment"
        return f"the history file: {error}"
    if isinstance(error, sqlite3.DatabaseError):
        return f"the history file is damaged ({error}); a server that uses it sets it aside"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__
