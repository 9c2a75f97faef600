"""The tables, and whether a file has them."""

from __future__ import annotations

import sqlite3

APPLICATION = 0x53614765
"""Marks the file as ours, in SQLite's header (`PRAGMA application_id`)."""
VERSION = 1
"""Of the tables; another version is not read."""

_TABLES = """
CREATE TABLE spaces(
    id INTEGER PRIMARY KEY,
    embedder TEXT NOT NULL,
    dim INTEGER NOT NULL,
    features INTEGER NOT NULL,
    UNIQUE(embedder, dim, features)
);
CREATE TABLE records(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order of the commits, never used again
    space INTEGER NOT NULL REFERENCES spaces(id),
    writer INTEGER NOT NULL,               -- random number of the process that wrote it
    time REAL NOT NULL,                    -- seconds since 1970
    "group" TEXT NOT NULL,
    tenant TEXT NOT NULL,
    output_tokens INTEGER NOT NULL,
    finished INTEGER NOT NULL,
    vector BLOB NOT NULL,                  -- float32, little endian
    text TEXT                              -- of the prompt; NULL unless asked for
);
CREATE INDEX records_by_space ON records(space, seq);
"""

COLUMNS = 'time, "group", tenant, output_tokens, finished, vector, text'


class UnusableFileError(Exception):
    """The file is damaged, or of another version or program; the message says which."""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file is malformed or not a database.

    Those two come as a plain DatabaseError; full, locked or read-only are its subclasses.
    """
    return type(error) is sqlite3.DatabaseError


def prepare(connection: sqlite3.Connection) -> None:
    """Settings of a connection, before its first transaction.

    synchronous=FULL waits for the disk at every commit, so that a power failure loses no more than
    a killed process does; commits are few, and nobody who serves requests waits for them.
    """
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "PRAGMA journal_size_limit = 16777216"
    )  # of the -wal file, once written back
    connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten


def create(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty database, all or nothing."""
    connection.executescript(
        f"BEGIN IMMEDIATE; {_TABLES} PRAGMA application_id = {APPLICATION}; "
        f"PRAGMA user_version = {VERSION}; COMMIT;"
    )


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether the database has no tables at all."""
    return not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]


def verify(connection: sqlite3.Connection) -> None:
    """Raise `UnusableFileError` unless the file is whole, ours, and of this version."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise UnusableFileError("it is another program's SQLite file")
    if version != VERSION:
        raise UnusableFileError(
            f"it has version {version} of the format, this sagesched reads version {VERSION}"
        )
    (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if state != "ok":
        raise UnusableFileError("it is damaged")
    try:
        connection.execute(f"SELECT seq, space, writer, {COLUMNS} FROM records LIMIT 0")
        connection.execute("SELECT id, embedder, dim, features FROM spaces LIMIT 0")
    except sqlite3.OperationalError as error:
        if "no such" in str(error):
            raise UnusableFileError("its tables are not ours") from None
        raise
