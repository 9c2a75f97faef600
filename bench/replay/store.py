"""Finished runs in a file, a JSON line each, so that a comparison can be gone on with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

Key = dict[str, Any]
Entry = dict[str, Any]


class Store:
    """Entries by their key: everything that decides a result.

    Only the last line can be torn, by a process that died while it wrote it; it is dropped.

    Args:
        file: need not exist yet.

    Raises:
        ValueError: another line than the last one is not an entry.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._entries: dict[str, Entry] = {}
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists():
            self._drop_torn_line()
            self._read()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Entry | None:
        """What was found under that key."""
        return self._entries.get(_text(key))

    def add(self, key: Key, found: dict[str, Any]) -> Entry:
        """Keep what was found; on the disk when this returns."""
        entry = {"key": key, **found}
        with self._file.open("a") as lines:
            lines.write(json.dumps(entry) + "\n")
            lines.flush()
            os.fsync(lines.fileno())
        self._entries[_text(key)] = entry
        return entry

    def _drop_torn_line(self) -> None:
        content = self._file.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self._file, len(whole))

    def _read(self) -> None:
        for number, line in enumerate(self._file.read_text().splitlines(), 1):
            try:
                entry = json.loads(line)
                self._entries[_text(entry["key"])] = entry
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{self._file}:{number}: not a finished run ({error!r}); "
                    "mend the file or delete it"
                ) from None


def _text(key: Key) -> str:
    return json.dumps(key, sort_keys=True)
