"""Files of prompts and lengths: JSON lines of our own, SGLang's request log, ShareGPT's JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from operator import attrgetter
from pathlib import Path

import numpy as np

from sagesched.evaluate.log import rows_of_log
from sagesched.evaluate.rows import EXAMPLE, Row, rows_of
from sagesched.replay.readers import Tally, detect, open_trace
from sagesched.replay.readers.base import lines
from sagesched.replay.readers.fields import json_object
from sagesched.replay.trace import BadLineError, TraceError

WITHOUT_PROMPTS = ("azure", "mooncake", "bench-serving")
LOOKED_AT = 200
"""Lines by which a format is told."""
NAMED = 5
"""Bad lines that are named when bad lines are left out."""


class DataError(ValueError):
    """A file that cannot be evaluated; the message says why and what to do."""


class Reading:
    """How a file is read, and what was left out or assumed.

    Args:
        skip_bad: leave bad lines out instead of stopping at the first one.
    """

    def __init__(self, skip_bad: bool = False) -> None:
        self.tally = Tally(self._note if skip_bad else None)
        self.bad: list[int] = []
        self.several = False  # lines with several answers

    def _note(self, number: int, _: object) -> None:
        self.bad.append(number)

    def notes(self) -> list[str]:
        """As sentences."""
        if not self.bad:
            return list(self.tally.notes())
        more = ", ..." if len(self.bad) > NAMED else ""
        named = ", ".join(map(str, self.bad[:NAMED])) + more
        return [*self.tally.notes(), f"bad lines, left out: {len(self.bad)} (lines {named})"]


def read_rows(file: Path, reading: Reading) -> list[Row]:
    """The requests of a file, in order of arrival.

    Where lines have several answers and there are no times, all answers of the file are shuffled,
    in the same way every time: one prompt's answers then do not come in a row.

    Raises:
        DataError: unreadable, of an unknown format, a bad line, or no request in it.
    """
    try:
        rows = [row for row in _requests(file, reading) if _usable(row, reading)]
    except BadLineError as error:
        raise DataError(f"{error}\n--skip-bad leaves such lines out") from None
    except TraceError as error:
        raise DataError(str(error)) from None
    if not rows:
        why = "; ".join(reading.notes()) or "the file is empty"
        raise DataError(f"{file}: no request with a prompt and a length: {why}")
    return _in_order(file, rows, reading)


def _requests(file: Path, reading: Reading) -> Iterable[Row]:
    head = [line for _, line in islice(lines(file, reading.tally.peeking()), LOOKED_AT)]
    if any(map(_is_ours, head)):
        return _of_lines(file, reading)
    try:
        name = detect(file, reading.tally).name
    except TraceError as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{reason}\nA good line of JSON lines: {EXAMPLE}") from None
    if name in WITHOUT_PROMPTS:
        raise DataError(f"{file}: a trace of the format {name} has no prompts to predict from")
    if name == "sglang-log":
        return rows_of_log(file, reading.tally)
    return (
        Row(record.prompt.text, record.output_tokens, arrival_s=record.arrival_s)
        for record in open_trace(file, name, reading.tally)
    )


def _is_ours(line: str) -> bool:
    try:
        return "output_tokens" in json_object(line)
    except (ValueError, RecursionError):
        return False


def _of_lines(file: Path, reading: Reading) -> Iterator[Row]:
    for number, text in lines(file, reading.tally):
        try:
            rows = list(rows_of(json_object(text)))
        except (ValueError, RecursionError) as error:
            reading.tally.bad(file, number, f"{error}\nA good line: {EXAMPLE}")
            continue
        reading.several |= len(rows) > 1
        if not rows:
            reading.tally.count("lines without an output length, left out")
        yield from rows


def _usable(row: Row, reading: Reading) -> bool:
    if not row.prompt:
        reading.tally.count("requests without a prompt's text, left out")
    return bool(row.prompt)


def _in_order(file: Path, rows: list[Row], reading: Reading) -> list[Row]:
    timed = sum(row.arrival_s is not None for row in rows)
    if 0 < timed < len(rows):
        raise DataError(
            f"{file}: {len(rows) - timed} of {len(rows)} requests have no arrival time; give all "
            'requests one ("arrival_s" or "timestamp_ms"), or none'
        )
    if timed:
        return sorted(rows, key=attrgetter("arrival_s"))
    if reading.several:
        reading.tally.remark("lines have several answers and no times: answers were shuffled")
        return [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    return rows
