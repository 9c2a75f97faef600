"""The requests of a history file: vectors and lengths, in the order in which they ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from sagesched.evaluate.data import DataError
from sagesched.evaluate.stream import NO_LIMIT, Stream
from sagesched.predict import make_embedder
from sagesched.predict.base import Embedder, Vectors
from sagesched.predict.features import FEATURES, FORMAT
from sagesched.predict.store.file import HistoryFile
from sagesched.predict.store.opening import open_history
from sagesched.predict.store.record import Record, Space
from sagesched.predict.store.schema import UnusableFileError
from sagesched.shown import shown

PAGE = 4096
LONGEST = 255
"""Characters of a name in messages."""
SHIPPED = ("wordllama", "hashed")
"""Embedders that say which part of their vectors is searched; others have all of it searched."""


class FormerEmbedder:
    """Stands for an embedder that is not here; a history has its vectors, and no prompts."""

    def __init__(self, space: Space) -> None:
        self.name = space.embedder
        self.dim = self.search_dim = space.dim - FEATURES

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Not needed, and not possible."""
        raise NotImplementedError


def read_history(file: Path, notes: list[str], name: str = "auto") -> tuple[Stream, Embedder]:
    """All records of one embedder: the one named, or with "auto" the one with most records.

    Raises:
        DataError: the file cannot be used, or holds no such records.
        ImportError: the embedder is not installed.
    """
    try:
        history = open_history(file, create=False)
    except (UnusableFileError, OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{file}: not a history that can be read: {reason}") from None
    try:
        space = _chosen(file, history.counts(), notes, name)
        found = list(_read(history, space))
    except sqlite3.Error as error:
        raise DataError(f"{file}: cannot be read: {error}") from None
    finally:
        history.close()
    records = [record for record in found if _usable(record, space)]
    if len(records) < len(found):
        notes.append(f"damaged records, left out: {len(found) - len(records)}")
    if not records:
        raise DataError(f"{file}: no usable record of {space}")
    notes.append("a history is in order of the requests' ends; their arrivals are not in it")
    return _stream(records), _embedder(space)


def _embedder(space: Space) -> Embedder:
    if space.embedder in SHIPPED:
        embedder = make_embedder(space.embedder)
        if embedder.dim == space.dim - FEATURES:
            return embedder
    return FormerEmbedder(space)


def _chosen(file: Path, counts: dict[Space, int], notes: list[str], name: str) -> Space:
    known = {
        space: n
        for space, n in counts.items()
        if n and space.features == FORMAT and space.dim > FEATURES
        and name in ("auto", space.embedder)
    }  # fmt: skip
    if not known:
        found = (
            "; ".join(f"{n} of {shown(str(space), LONGEST)}" for space, n in counts.items())
            or "none"
        )
        raise DataError(
            f"{file}: no records that --embedder {name} and this version can compare; "
            f"records in it: {found}"
        )
    chosen = max(known, key=lambda space: known[space])
    if left := sum(counts.values()) - known[chosen]:
        notes.append(f"records of other embedders than {shown(chosen.embedder)}, left out: {left}")
    return chosen


def _read(history: HistoryFile, space: Space) -> Iterator[Record]:
    number, at, last = history.space_id(space), 0, history.last()
    while page := history.read(number, at, last, PAGE):
        yield from (record for _, record in page)
        at = page[-1][0]


def _usable(record: Record, space: Space) -> bool:
    """As the predictor has it: what tells nothing, or is damaged, is not learned."""
    tokens = record.output_tokens
    whole = isinstance(tokens, int) and tokens >= (0 if record.finished else 1)
    return whole and record.vector.shape == (space.dim,)


def _stream(records: list[Record]) -> Stream:
    return Stream(
        np.stack([record.vector for record in records]),
        np.array([record.output_tokens for record in records], dtype=np.int64),
        [record.group for record in records],
        [record.tenant for record in records],
        np.array([record.finished for record in records], dtype=np.bool_),
        np.full(len(records), NO_LIMIT),
    )
