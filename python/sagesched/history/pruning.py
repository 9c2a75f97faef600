"""``sagesched history prune``."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from sagesched.predict.store import schema
from sagesched.predict.store.file import HistoryFile

PIECE = 2000
"""Records deleted in one transaction: servers write to the file meanwhile."""


@dataclass(frozen=True)
class Condition:
    """Which records; None leaves a condition out.

    Attributes:
        keep: not the newest so many of the group and tenant.
        before: ended before, seconds since 1970.
        group, tenant: "" is the one without a name.
    """

    keep: int | None = None
    before: float | None = None
    group: str | None = None
    tenant: str | None = None

    def where(self) -> tuple[str, dict[str, object]]:
        """In SQL, with its parameters."""
        parts, named = [], {"group": self.group, "tenant": self.tenant}
        if self.group is not None:
            parts.append('"group" = :group')
        if self.tenant is not None:
            parts.append("tenant = :tenant")
        of = " AND ".join(parts) or "TRUE"
        if self.keep is not None:
            newest = f"SELECT seq FROM records WHERE {of} ORDER BY seq DESC LIMIT 1 OFFSET :keep"
            parts.append(f"seq <= ({newest})")
        if self.before is not None:
            parts.append("time < :before")
        return " AND ".join(parts), {**named, "keep": self.keep, "before": self.before}


def matching(file: HistoryFile, condition: Condition) -> int:
    """How many records would be deleted."""
    where, values = condition.where()
    count = file.connection.execute(f"SELECT count(*) FROM records WHERE {where}", values)
    return int(count.fetchone()[0])


def prune(file: HistoryFile, condition: Condition) -> int:
    """Delete records, overwriting their content, and say how many."""
    schema.prepare(file.connection)
    where, values = condition.where()
    file.connection.execute("CREATE TEMP TABLE doomed(seq INTEGER PRIMARY KEY)")
    file.connection.execute(f"INSERT INTO doomed SELECT seq FROM records WHERE {where}", values)
    last, deleted = 0, 0
    while piece := _piece(file, last):
        with file.transaction() as connection:
            deleted += connection.execute(
                "DELETE FROM records WHERE seq IN "
                "(SELECT seq FROM doomed WHERE seq > ? AND seq <= ?)",
                (last, piece),
            ).rowcount
        last = piece
    return deleted


def shrink(file: HistoryFile) -> bool:
    """Give the space back to the disk; False where that must wait: the file is in use, or the disk
    has no room for the copy that it takes. The space is used again in any case."""
    try:
        file.connection.execute("VACUUM")
        (busy, *_) = file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError:
        return False
    return not busy


def _piece(file: HistoryFile, after: int) -> int | None:
    """The last sequence number of the next piece."""
    found = file.connection.execute(
        "SELECT max(seq) FROM (SELECT seq FROM doomed WHERE seq > ? ORDER BY seq LIMIT ?)",
        (after, PIECE),
    ).fetchone()
    return None if found[0] is None else int(found[0])
