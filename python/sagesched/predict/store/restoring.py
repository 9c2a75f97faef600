"""Learning again, at the start, what a history file holds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sagesched.predict.store.file import HistoryFile
from sagesched.predict.store.record import Record

logger = logging.getLogger("sagesched")

PAGE = 512
PROGRESS_S = 3.0


def restore(
    file: HistoryFile, space: int, capacity: int, learn: Callable[[Record], bool]
) -> tuple[int, int]:
    """Have the newest `capacity` records of a space learned, oldest first.

    Returns:
        the sequence number up to which the file was read, and how many records were learned.
    """
    began = said = time.monotonic()
    last = file.last()
    at = file.before_newest(space, capacity)
    total = file.count(space, at, last)
    read = learned = 0
    while page := file.read(space, at, last, PAGE):
        learned += sum(learn(record) for _, record in page)
        read += len(page)
        at = page[-1][0]
        if time.monotonic() - said > PROGRESS_S:
            said = time.monotonic()
            logger.info("sagesched: %d of %d records read from the history file", read, total)
    seconds = time.monotonic() - began
    logger.info(
        "sagesched: %d records learned from the history file %s in %.1f s",
        learned,
        file.path,
        seconds,
    )
    if learned < read:
        logger.warning("sagesched: %d records there could not be learned", read - learned)
    return last, learned
