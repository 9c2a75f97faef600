"""``sagesched history export``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from sagesched.history.errors import HistoryError
from sagesched.history.lines import line_of
from sagesched.predict.store.file import HistoryFile
from sagesched.predict.store.record import Record, Space

PAGE = 512


def export(file: HistoryFile, out: TextIO, vectors: bool) -> tuple[int, int]:
    """Write all records.

    Returns:
        how many, and how many of them have neither text nor vector.
    """
    written = bare = 0
    for space in file.counts():
        for record in records_of(file, space):
            out.write(line_of(record, space, vectors) + "\n")
            written += 1
            bare += not vectors and record.text is None
    return written, bare


def records_of(file: HistoryFile, space: Space) -> Iterator[Record]:
    """All records of a space, oldest first."""
    number, last, at = file.space_id(space), file.last(), 0
    while page := file.read(number, at, last, PAGE):
        yield from (record for _, record in page)
        at = page[-1][0]


@contextmanager
def new_file(name: str) -> Iterator[TextIO]:
    """A file that only its owner may read, or standard output.

    Raises:
        HistoryError: it exists.
    """
    if name == "-":
        yield sys.stdout
        sys.stdout.flush()
        return
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise HistoryError(f"{name}: exists already; delete it or name another file") from None
    with open(descriptor, "w", encoding="utf-8") as out:
        yield out
