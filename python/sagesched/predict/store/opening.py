"""Opening a history file: made with permissions for its owner only, verified, set aside if bad."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from sagesched.predict.store import schema
from sagesched.predict.store.file import HistoryFile
from sagesched.predict.store.schema import UnusableFileError

logger = logging.getLogger("sagesched")

OWNER_ONLY = 0o600
BUSY_S = 5.0
"""How long to wait for another process's transaction."""


def open_history(path: Path, *, create: bool = True) -> HistoryFile:
    """Open a file, or make it.

    Raises:
        UnusableFileError: it is damaged or not ours.
        OSError, sqlite3.Error: it cannot be opened or made here.
    """
    with _lock(path, create):
        return _open(path, create)


def open_or_set_aside(path: Path) -> HistoryFile:
    """Open a file; one that cannot be used is renamed, and a new one made.

    Raises:
        OSError, sqlite3.Error: it cannot be opened or made here.
    """
    with _lock(path, True):
        try:
            return _open(path, True)
        except UnusableFileError as error:
            _set_aside(path, str(error))
        return _open(path, True)


def set_aside_damaged(file: HistoryFile) -> bool:
    """Close a file that turned out to be damaged, and rename it unless another process has.

    Raises:
        OSError: it cannot be renamed.
    """
    with _lock(file.path, True):
        mine = file.is_in_place()
        file.close()
        if mine:
            _set_aside(file.path, "it is damaged")
        return mine


def _set_aside(path: Path, reason: str) -> None:
    """Rename a file and what SQLite keeps beside it; nothing is deleted."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    free = (path.with_name(f"{path.name}.set-aside-{stamp}{more}") for more in _distinct())
    target = next(name for name in free if not name.exists())
    for suffix in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{target}{suffix}")
    logger.warning(
        "sagesched: the history file %s cannot be used: %s. It was renamed to %s and a new one is "
        "begun, so predictions start from what is learned from now on.",
        path,
        reason,
        target.name,
    )


def _distinct() -> Iterator[str]:
    yield ""
    number = 2
    while True:
        yield f"-{number}"
        number += 1


def _open(path: Path, create: bool) -> HistoryFile:
    _make_private(path, create)
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,  # transactions are begun by hand
        check_same_thread=False,
    )
    # One bad byte must not make the others' rows unreadable; nor may SQLite quote it in an error.
    connection.text_factory = lambda found: found.decode("utf-8", "replace")
    try:
        if create and schema.is_empty(connection):
            schema.prepare(connection)
            schema.create(connection)
        schema.verify(connection)
        if create:
            schema.prepare(connection)
        return HistoryFile(path, connection)
    except sqlite3.Error as error:
        connection.close()
        if schema.is_damage(error):
            raise UnusableFileError("it is damaged, or not a SQLite file") from None
        raise
    except BaseException:
        connection.close()
        raise


def _make_private(path: Path, create: bool) -> None:
    """Make the file where it is missing. SQLite gives its -wal and -shm the same permissions."""
    flags = os.O_RDWR | os.O_CREAT if create else os.O_RDONLY
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, OWNER_ONLY)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path} is not a regular file")
        if create and stat.S_IMODE(found.st_mode) != OWNER_ONLY:
            os.fchmod(descriptor, OWNER_ONLY)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _lock(path: Path, create: bool) -> Iterator[None]:
    """One process at a time opens: no two may set the same file aside, the second the new one."""
    if not create:
        yield
        return
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
