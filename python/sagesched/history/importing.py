"""``sagesched history import``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from sagesched.history.errors import HistoryError
from sagesched.history.lines import Parsed, parse
from sagesched.lengths import LengthGrid
from sagesched.predict.base import Vectors
from sagesched.predict.predictor import LengthPredictor
from sagesched.predict.registry import make_embedder
from sagesched.predict.store.file import HistoryFile
from sagesched.predict.store.record import Record, Space
from sagesched.replay.readers.base import Tally, decoded, lines

BATCH = 256
"""Records embedded and committed together."""
NAMED = 10
PROGRESS_S = 5.0
WRITER = 0
"""No server's number: all of them learn what is imported."""


class Importer:
    """Puts lines into a file.

    Args:
        file: where to.
        embedder: name of the one for prompts without a vector; loaded when it is needed.
        store_prompts: whether to store their text.
    """

    def __init__(self, file: HistoryFile, embedder: str, store_prompts: bool) -> None:
        self._file = file
        self._embedder = embedder
        self._store_prompts = store_prompts
        self._predictor: LengthPredictor | None = None
        self.imported = 0

    def add(self, batch: list[Parsed]) -> None:
        """Embed what needs it, and commit, in the order of the lines."""
        stored: dict[Space, list[Record]] = {}
        for parsed, (vector, space) in zip(batch, self._vectors(batch), strict=True):
            record = parsed.record(vector, self._store_prompts)
            stored.setdefault(space, []).append(record)
        for space, records in stored.items():
            self._file.append(self._file.space_id(space), WRITER, records)
            self.imported += len(records)

    def _vectors(self, batch: list[Parsed]) -> list[tuple[Vectors, Space]]:
        prompts = [parsed for parsed in batch if parsed.vector is None]
        embedded = iter(self._embed(prompts)) if prompts else iter(())
        return [
            next(embedded)
            if parsed.vector is None or parsed.space is None
            else (parsed.vector, parsed.space)
            for parsed in batch
        ]

    def _embed(self, prompts: list[Parsed]) -> list[tuple[Vectors, Space]]:
        if self._predictor is None:
            self._predictor = LengthPredictor(make_embedder(self._embedder), LengthGrid(2), 1)
        predictor = self._predictor
        texts, options = [p.prompt or "" for p in prompts], [p.options for p in prompts]
        space = Space(predictor.embedder.name, predictor.dim)
        return [(vector, space) for vector in predictor.embed(texts, options)]


class BadLines:
    """Names the first bad lines on stderr, and counts all."""

    def __init__(self) -> None:
        self.count = 0

    def note(self, number: int, reason: object) -> None:
        """One more."""
        self.count += 1
        if self.count <= NAMED:
            print(f"line {number}: {reason}", file=sys.stderr)
        elif self.count == NAMED + 1:
            print("further bad lines are only counted", file=sys.stderr)


def parsed_lines(numbered: Iterable[tuple[int, str]], bad: BadLines) -> Iterator[Parsed]:
    """The good ones."""
    for number, text in numbered:
        try:
            yield parse(text)
        except (ValueError, RecursionError) as error:
            bad.note(number, error)


def check(source: str) -> None:
    """Read all lines, for --strict.

    Raises:
        HistoryError: a line is bad, or they can be read once only.
    """
    if source == "-":
        raise HistoryError("--strict reads everything twice: give it a file, not standard input")
    bad = BadLines()
    for _ in parsed_lines(numbered_lines(source, bad), bad):
        pass
    if bad.count:
        raise HistoryError(f"{bad.count} bad lines in {source}; nothing was imported")


def import_all(importer: Importer, source: str, bad: BadLines) -> None:
    """All good lines of a file, in batches; says now and then how far it is."""
    rows = parsed_lines(numbered_lines(source, bad), bad)
    said = time.monotonic()
    while batch := list(islice(rows, BATCH)):
        importer.add(batch)
        if time.monotonic() - said > PROGRESS_S:
            said = time.monotonic()
            print(f"{importer.imported:,} records imported; going on", file=sys.stderr)


def numbered_lines(source: str, bad: BadLines) -> Iterator[tuple[int, str]]:
    """Lines that are not empty, with their numbers."""
    file, tally = Path(source), Tally(bad.note)
    return lines(file, tally) if source != "-" else decoded(sys.stdin.buffer, file, tally)
