"""One open history file: rows in, rows out. Used by one thread at a time."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from sagesched.predict.store.record import MAX_NAME_CHARS, Record, Space, storable, valid
from sagesched.predict.store.schema import COLUMNS

LARGEST_TOKENS = 2**63 - 1  # what a column holds


class HistoryFile:
    """Any sqlite3.Error may come out of any call; nothing is half done after one."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        self._identity = _identity(path)

    def is_in_place(self) -> bool:
        """Whether the path still leads to this file: it may have been set aside or deleted."""
        return self._identity == _identity(self.path)

    def close(self) -> None:
        """Close; the last one to close a file writes its -wal file back."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, for writing."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def space_id(self, space: Space) -> int:
        """The number of a space in this file; it is entered where it is new."""
        values = (space.embedder, space.dim, space.features)
        find = "SELECT id FROM spaces WHERE (embedder, dim, features) = (?, ?, ?)"
        found = self.connection.execute(find, values).fetchone()
        if found is None:
            insert = "INSERT OR IGNORE INTO spaces(embedder, dim, features) VALUES(?, ?, ?)"
            self.connection.execute(insert, values)
            found = self.connection.execute(find, values).fetchone()
        return int(found[0])

    def counts(self) -> dict[Space, int]:
        """Number of records in each space."""
        rows = self.connection.execute(
            "SELECT embedder, dim, features, count(seq) FROM spaces LEFT JOIN records "
            "ON records.space = spaces.id GROUP BY spaces.id ORDER BY spaces.id"
        )
        return {Space(*row[:3]): row[3] for row in rows}

    def append(self, space: int, writer: int, records: Sequence[Record]) -> None:
        """Store records, in one transaction."""
        rows = [(space, writer, *_values(record)) for record in records]
        insert = f"INSERT INTO records(space, writer, {COLUMNS}) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)"
        with self.transaction() as connection:
            connection.executemany(insert, rows)

    def last(self) -> int:
        """The largest sequence number, 0 where there is no record."""
        return int(self.connection.execute("SELECT ifnull(max(seq), 0) FROM records").fetchone()[0])

    def before_newest(self, space: int, count: int) -> int:
        """A sequence number beyond which a space has `count` records; 0 where it has fewer."""
        found = self.connection.execute(
            "SELECT seq FROM records WHERE space = ? ORDER BY seq DESC LIMIT 1 OFFSET ?",
            (space, count),
        ).fetchone()
        return 0 if found is None else int(found[0])

    def count(self, space: int, after: int, until: int) -> int:
        """Number of records of a space behind `after`, up to `until`."""
        where = "space = ? AND seq > ? AND seq <= ?"
        found = self.connection.execute(
            f"SELECT count(*) FROM records WHERE {where}", (space, after, until)
        ).fetchone()
        return int(found[0])

    def read(
        self, space: int, after: int, until: int, limit: int, not_by: int = -1
    ) -> list[tuple[int, Record]]:
        """Records of a space in their order, with their sequence numbers.

        Args:
            space: its number.
            after: the sequence number to begin behind.
            until: the last sequence number to look at.
            limit: most records returned.
            not_by: a writer whose records are left out.
        """
        rows = self.connection.execute(
            f"SELECT seq, {COLUMNS} FROM records WHERE space = ? AND seq > ? AND seq <= ? "
            "AND writer <> ? ORDER BY seq LIMIT ?",
            (space, after, until, not_by, limit),
        )
        return [(row[0], record_of(row[1:])) for row in rows]

    def prune(self, space: int, keep: int, at_most: int) -> int:
        """Delete the oldest records of a space beyond `keep`, and say how many."""
        oldest = self.before_newest(space, keep)
        if not oldest:
            return 0
        with self.transaction() as connection:
            return connection.execute(
                "DELETE FROM records WHERE seq IN (SELECT seq FROM records "
                "WHERE space = ? AND seq <= ? ORDER BY seq LIMIT ?)",
                (space, oldest, at_most),
            ).rowcount


def _values(record: Record) -> tuple[object, ...]:
    return (
        record.time,
        valid(record.group[:MAX_NAME_CHARS]),
        valid(record.tenant[:MAX_NAME_CHARS]),
        min(int(record.output_tokens), LARGEST_TOKENS),
        int(record.finished),
        np.asarray(record.vector, dtype="<f4").tobytes(),
        None if record.text is None else storable(record.text),
    )


def record_of(values: Sequence[object]) -> Record:
    """From the values of `COLUMNS`."""
    time, group, tenant, output_tokens, finished, vector, text = values
    blob = vector if isinstance(vector, bytes) else b""
    usable = blob[: len(blob) // 4 * 4]  # a wrong length is refused by who learns it
    return Record(
        np.frombuffer(usable, dtype="<f4").astype(np.float32),
        output_tokens,  # type: ignore[arg-type]
        bool(finished),
        str(group),
        str(tenant),
        None if text is None else str(text),
        time,  # type: ignore[arg-type]
    )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
