"""Azure's LLM inference traces: CSV with a time and two token counts.

Source: https://github.com/Azure/AzurePublicDataset (2023 and 2024 files, code and conversation).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from sagesched.replay.prompts import Prompt
from sagesched.replay.readers.base import Format, Head, Record, Tally, lines, parsed
from sagesched.replay.readers.fields import whole
from sagesched.replay.trace import TraceError

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


def _columns(line: str) -> list[str]:
    try:
        return [column.strip() for column in next(csv.reader([line]))]
    except csv.Error as error:
        raise ValueError(f"not CSV: {error}") from None


def _recognises(head: Head) -> bool:
    return all(column in head.lines[0] for column in COLUMNS)


def _seconds(text: str) -> float:
    """Seconds since 1970; a time without a zone is UTC. Fractions beyond a microsecond are cut."""
    whole_seconds, dot, fraction = text.partition(".")
    digits = fraction[: len(fraction) - len(fraction.lstrip("0123456789"))]
    zone = fraction[len(digits) :].replace("Z", "+00:00")
    shown = f"{whole_seconds}{dot}{digits[:6].ljust(6, '0')}{zone}" if dot else text
    try:
        time = datetime.fromisoformat(shown.replace("Z", "+00:00"))
    except ValueError:
        raise ValueError(
            f'"TIMESTAMP" must be like 2023-11-16 18:17:03.97996, got {text!r}'
        ) from None
    return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).timestamp()


def _tokens(row: dict[str, str], column: str) -> int:
    try:
        value = int(row[column])
    except ValueError:
        raise ValueError(f'"{column}" must be a whole number, got {row[column]!r}') from None
    return whole({column: value}, column)


def read(file: Path, tally: Tally) -> Iterator[Record]:
    """The rows, whatever the order of the columns.

    Raises:
        TraceError: a missing column or a malformed row.
    """
    start, header = next(lines(file), (1, ""))
    try:
        names = _columns(header)
    except ValueError as error:
        raise TraceError(f"{file}, line {start}: {error}") from None
    if missing := [column for column in COLUMNS if column not in names]:
        raise TraceError(f"{file}, line {start}: no column {', '.join(missing)} in {header!r}")

    def parse(number: int, line: str) -> Iterator[Record]:
        values = _columns(line)
        if len(values) != len(names):
            raise ValueError(f"{len(values)} values, the header has {len(names)} columns")
        row = dict(zip(names, values, strict=True))
        key = f"{file.name}:{number}"
        prompt = Prompt(key, _tokens(row, "ContextTokens"))
        seconds = _seconds(row["TIMESTAMP"])
        if row["GeneratedTokens"].strip() == "0":
            tally.count("requests without output, left out")
            return
        yield Record(f"line {number}", prompt, _tokens(row, "GeneratedTokens"), seconds)

    return parsed(file, parse, tally, start=start + 1)


FORMAT = Format("azure", f"CSV with the columns {', '.join(COLUMNS)}", _recognises, read)
