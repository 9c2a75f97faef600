"""What readers have in common: their records, the lines of a file, the checks of its order."""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from sagesched.replay.prompts import Prompt
from sagesched.replay.trace import BadLineError, TraceError, TraceRequest

_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Record:
    """One request as its file has it; small, since the prompt's ids are made later.

    Attributes:
        place: where it came from, for messages, such as ``line 7``.
        arrival_s: in seconds of the file's own clock; None if the file has no times.
    """

    place: str
    prompt: Prompt
    output_tokens: int
    arrival_s: float | None = None
    cluster: str = ""
    tenant: str = ""
    priority: int = 0

    def request(self, arrival_s: float, longest: int) -> TraceRequest:
        """The request, arriving at ``arrival_s``, its output cut to ``longest`` tokens."""
        return TraceRequest(
            arrival_s=arrival_s,
            prompt=self.prompt.build(),
            output_tokens=min(self.output_tokens, longest),
            text=self.prompt.text,
            cluster=self.cluster,
            tenant=self.tenant,
            priority=self.priority,
        )


BadLine = Callable[[int, object], None]
"""Told the number of a line that is left out, and what is wrong with it."""


class Tally:
    """What a reader left out or had to assume, so that nothing happens in silence.

    Args:
        bad_line: told of bad lines, which are then left out; without it the first one ends the
            reading.
    """

    def __init__(self, bad_line: BadLine | None = None) -> None:
        self.bad_line = bad_line
        self._counts: Counter[str] = Counter()
        self._remarks: dict[str, None] = {}

    def peeking(self) -> Tally:
        """Takes the same lines and notes nothing: for a first look into a file."""
        return Tally(None if self.bad_line is None else lambda number, error: None)

    def bad(self, file: Path, number: int, error: object, place: str = "") -> None:
        """A line makes no sense.

        Raises:
            BadLineError: it is not to be left out; it names the place.
        """
        if self.bad_line is None:
            raise BadLineError(f"{file}, {place or f'line {number}'}: {error}") from None
        self.bad_line(number, error)

    def count(self, what: str, times: int = 1) -> None:
        """Something happened to a line or a request."""
        self._counts[what] += times

    def remark(self, text: str) -> None:
        """Something holds for the whole file."""
        self._remarks[text] = None

    def notes(self) -> tuple[str, ...]:
        """Everything, as sentences for the report."""
        counted = (f"{what}: {times}" for what, times in self._counts.items() if times)
        return (*self._remarks, *counted)


@dataclass(frozen=True)
class Head:
    """The beginning of a file, from which its format is told.

    Attributes:
        lines: the first lines that are not empty, at most 200.
        first: the first line as a JSON object; empty if it is none.
    """

    lines: tuple[str, ...]
    first: dict[str, object]


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        name: what ``--format`` calls it.
        about: one line for messages and documentation.
        recognises: whether a file begins like it.
        read: its records, in order of arrival; what is left out goes to the tally.
    """

    name: str
    about: str
    recognises: Callable[[Head], bool]
    read: Callable[[Path, Tally], Iterator[Record]]


def lines(file: Path, tally: Tally | None = None) -> Iterator[tuple[int, str]]:
    """(number, text) of every line that is not empty, one at a time; gzip is understood.

    Raises:
        TraceError: the file cannot be read, or a line is not UTF-8 and the tally takes no bad ones.
    """
    number = 0
    try:
        with closing(_opened(file)) as stream:
            for number, text in decoded(stream, file, tally or Tally()):
                yield number, text.rstrip("\r\n")
    except (OSError, EOFError, zlib.error) as error:
        where = f", after line {number}" if number else ""
        raise TraceError(f"{file}{where}: cannot be read: {error}") from error


def decoded(stream: Iterable[bytes], file: Path, tally: Tally) -> Iterator[tuple[int, str]]:
    """(number, text) of every line of a stream that is not empty, with its end.

    Raises:
        TraceError: a line is not UTF-8 and the tally takes no bad ones; it names the file.
    """
    for number, raw in enumerate(stream, 1):
        try:
            text = (raw.removeprefix(_BYTE_ORDER_MARK) if number == 1 else raw).decode("utf-8")
        except UnicodeDecodeError as error:
            tally.bad(file, number, f"not UTF-8 text ({error.reason})")
            continue
        if text.strip():
            yield number, text


def parsed(
    file: Path, parse: Callable[[int, str], Iterable[Record]], tally: Tally, *, start: int = 1
) -> Iterator[Record]:
    """The records of a file with some on each line, from line ``start`` on.

    Raises:
        TraceError: a line cannot be parsed (``parse`` raised ValueError) and the tally takes no bad
            ones; it names the place.
    """
    for number, text in lines(file, tally):
        if number < start:
            continue
        try:
            records = list(parse(number, text))
        except TraceError:
            raise
        except (ValueError, RecursionError) as error:
            tally.bad(file, number, error)
        else:
            yield from records


def in_order(file: Path, records: Iterable[Record]) -> Iterator[Record]:
    """The same records, if all have times that do not run backwards, or none has one.

    Raises:
        TraceError: times that run backwards, or are missing on some.
    """
    before: Record | None = None
    for record in records:
        if before is not None:
            _check_pair(file, before, record)
        before = record
        yield record


def _check_pair(file: Path, before: Record, record: Record) -> None:
    then, now = before.arrival_s, record.arrival_s
    if (then is None) != (now is None):
        lacking, having = (before, record) if then is None else (record, before)
        raise TraceError(
            f"{file}, {lacking.place}: no arrival time, but {having.place} has one; give all "
            "requests one, or none"
        )
    if then is not None and now is not None and now < then:
        raise TraceError(
            f"{file}, {record.place}: arrives {then - now:g} s before the request of "
            f"{before.place}; sort the file by time"
        )


def _opened(file: Path) -> BinaryIO:
    with file.open("rb") as probe:
        zipped = probe.read(2) == _GZIP_MAGIC
    return cast(BinaryIO, gzip.open(file, "rb")) if zipped else file.open("rb")
