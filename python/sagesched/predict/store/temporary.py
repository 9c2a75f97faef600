"""A history file that lives as long as the process that makes it, for its children to share.

Its folder is removed when the process ends. Where the process was killed, the next one that makes
a file removes it: a folder in use is locked by its owner, and the lock goes with the process.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

PREFIX = "sagesched-history-"
YOUNG_S = 60.0
"""A folder younger than this may be about to be locked."""


def make_temporary_file() -> Path:
    """Path of a new history file, in a new folder that only its owner can enter.

    Raises:
        OSError: no folder could be made.
    """
    _remove_abandoned(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    fcntl.flock(_open(folder), fcntl.LOCK_EX)  # never closed: it ends with the process
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "history.db"


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            descriptor = _open(folder)
        except OSError:  # somebody else's, or gone already
            continue
        try:
            if _is_abandoned(descriptor):
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)


def _is_abandoned(descriptor: int) -> bool:
    found = os.fstat(descriptor)
    if found.st_uid != os.getuid() or time.time() - found.st_mtime < YOUNG_S:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
