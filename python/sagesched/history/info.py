"""``sagesched history info``."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sagesched.predict.store.file import HistoryFile
from sagesched.shown import shown

SHOWN = 20
"""Groups and tenants named; the JSON has all."""
LONGEST_VALUE = 255


def facts(file: HistoryFile) -> dict[str, Any]:
    """What is in a file; times in seconds since 1970, None where there is no record."""
    select = "SELECT count(*), min(time), max(time), count(text) FROM records"
    records, first, last, texts = file.connection.execute(select).fetchone()
    return {
        "file": str(file.path),
        "bytes": _size(file.path),
        "records": records,
        "first": first,
        "last": last,
        "with_text": texts,
        "embedders": [
            {"embedder": s.embedder, "dim": s.dim, "features": s.features, "records": count}
            for s, count in file.counts().items()
        ],
        "groups": _by(file, '"group"'),
        "tenants": _by(file, "tenant"),
    }


def as_text(found: dict[str, Any]) -> str:
    """For a reader."""
    lines = [
        f"file      {found['file']}, {found['bytes'] / 1e6:.1f} MB",
        f"records   {found['records']:,}{_span(found)}",
        f"prompts   text of {found['with_text']:,} records is stored",
    ]
    for space in found["embedders"]:
        name = shown(space["embedder"], LONGEST_VALUE)
        dim, features = space["dim"], space["features"]
        lines.append(
            f"embedder  {name}, {dim} numbers, features {features}: {space['records']:,} records"
        )
    return "\n".join([*lines, *_named("group", found), *_named("tenant", found)])


def as_json(found: dict[str, Any]) -> str:
    """For a program."""
    return json.dumps(found, indent=2)


def _by(file: HistoryFile, column: str) -> dict[str, int]:
    rows = file.connection.execute(
        f"SELECT {column}, count(*) AS n FROM records GROUP BY {column} ORDER BY n DESC, {column}"
    )
    return dict(rows.fetchall())


def _named(kind: str, found: dict[str, Any]) -> list[str]:
    counts: dict[str, int] = found[f"{kind}s"]
    lines = [
        f"{kind:<9} {shown(name) or '(none)'}: {n:,}" for name, n in list(counts.items())[:SHOWN]
    ]
    if len(counts) > SHOWN:
        lines.append(f"{kind:<9} and {len(counts) - SHOWN:,} more; --json has all")
    return lines


def _span(found: dict[str, Any]) -> str:
    if found["first"] is None:
        return ""
    first, last = (
        datetime.fromtimestamp(found[name], timezone.utc).strftime("%Y-%m-%d %H:%M")
        for name in ("first", "last")
    )
    return f", from {first} to {last} UTC"


def _size(path: Path) -> int:
    parts = (path.with_name(path.name + suffix) for suffix in ("", "-wal"))
    return sum(part.stat().st_size for part in parts if part.exists())
