"""What each sub-command of ``sagesched history`` does; returns the exit status."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping

from sagesched.history import exporting, importing, pruning
from sagesched.history import info as info_
from sagesched.history.errors import HistoryError, opened
from sagesched.predict.registry import known_embedder


def info(options: argparse.Namespace) -> int:
    """Print what is in a file."""
    with opened(options.file) as file:
        found = info_.facts(file)
    print(info_.as_json(found) if options.json else info_.as_text(found))
    return 0


def export(options: argparse.Namespace) -> int:
    """Write JSON lines."""
    with opened(options.file) as file, exporting.new_file(options.output) as out:
        written, bare = exporting.export(file, out, options.vectors)
    _say(f"{written:,} records exported")
    if bare:
        _say(f"{bare:,} of them have no prompt's text: --vectors makes them fit for import")
    return 0


def import_(options: argparse.Namespace) -> int:
    """Read JSON lines; fails where there was no good one."""
    known_embedder(options.embedder)  # before a file is made
    if options.strict:
        importing.check(options.input)
    bad = importing.BadLines()
    with opened(options.file, create=True) as file:
        importer = importing.Importer(file, options.embedder, options.store_prompts)
        importing.import_all(importer, options.input, bad)
    _say(f"{importer.imported:,} records imported, {bad.count:,} bad lines left out")
    return int(bad.count > 0 and importer.imported == 0)


def prune(options: argparse.Namespace) -> int:
    """Delete records."""
    before = None if options.older_than is None else time.time() - options.older_than
    condition = pruning.Condition(options.keep, before, options.group, options.tenant)
    if condition == pruning.Condition():
        raise HistoryError("say which: --keep, --older-than, --group or --tenant")
    with opened(options.file) as file:
        if options.dry_run:
            _say(f"{pruning.matching(file, condition):,} records would be deleted")
            return 0
        deleted = pruning.prune(file, condition)
        shrunk = deleted == 0 or pruning.shrink(file)
    _say(f"{deleted:,} records deleted")
    if not shrunk:
        _say("the file is in use and keeps its size; new records take the space")
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr)


RUN: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "info": info,
    "export": export,
    "import": import_,
    "prune": prune,
}
