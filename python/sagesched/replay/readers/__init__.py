"""The file formats of traces: one small module each; `open_trace` finds the right one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from sagesched.replay.readers import (
    azure,
    bench_serving,
    mooncake,
    own,
    request_log,
    sharegpt,
)
from sagesched.replay.readers.base import Format, Head, Record, Tally, in_order, lines
from sagesched.replay.readers.fields import json_object
from sagesched.replay.trace import TraceError

__all__ = ["FORMATS", "Format", "Record", "Tally", "detect", "open_trace"]

FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        azure.FORMAT,
        mooncake.FORMAT,
        sharegpt.FORMAT,
        bench_serving.FORMAT,
        request_log.FORMAT,
        own.FORMAT,  # after sharegpt, whose single turns look like ours but for their time
    )
}
"""By name, in the order in which they are tried."""

_HEAD_LINES = 200


def detect(file: Path, tally: Tally | None = None) -> Format:
    """The format of a file, from its first lines; the tally says whether bad ones are passed over.

    Raises:
        TraceError: unreadable, empty, or like none of ours.
    """
    peeking = (tally or Tally()).peeking()
    head = _head(file, peeking)
    for each in FORMATS.values():
        if each.recognises(head):
            return each
    known = "\n".join(f"  {each.name}: {each.about}" for each in FORMATS.values())
    first = next(lines(file, peeking))[0]
    raise TraceError(
        f"{file}, line {first}: like no known format: {_why(head.lines[0])}\n"
        f"Known formats (--format NAME to insist on one):\n{known}"
    )


def open_trace(file: Path, fmt: str | None = None, tally: Tally | None = None) -> Iterator[Record]:
    """The records of a trace, in order of arrival, read as they are asked for.

    Args:
        fmt: a name in `FORMATS`; None: told from the content.
        tally: gets what is left out or assumed, complete once all records were read.

    Raises:
        TraceError: at once for an unknown format, while iterating for a malformed file.
    """
    if fmt is not None and fmt not in FORMATS:
        raise TraceError(f"unknown trace format {fmt!r}; choose one of: {', '.join(FORMATS)}")
    chosen = detect(file, tally) if fmt is None else FORMATS[fmt]
    return in_order(file, chosen.read(file, tally or Tally()))


def _why(line: str) -> str:
    """What is odd about the first line."""
    if line.lstrip().startswith("{"):
        try:
            return f"a JSON object with {', '.join(json_object(line)) or 'no fields'}"
        except (ValueError, RecursionError) as error:
            return str(error)
    return repr(line[:80])


def _head(file: Path, tally: Tally) -> Head:
    first_lines = tuple(line for _, line in islice(lines(file, tally), _HEAD_LINES))
    if not first_lines:
        raise TraceError(f"{file}: empty")
    try:
        first = json.loads(first_lines[0])
    except (ValueError, RecursionError):
        first = None
    return Head(first_lines, first if isinstance(first, dict) else {})
