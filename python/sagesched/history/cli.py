"""The flags of ``sagesched history``, and which function each sub-command runs."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

VARIABLE = "SAGESCHED_HISTORY_FILE"
FAILED = 1
DAY_S = 86_400.0
_UNITS = {"h": DAY_S / 24, "d": DAY_S, "w": 7 * DAY_S}

IMPORT = """\
Add records from JSON lines: what `export --vectors` wrote, or {"prompt": ..., "output_tokens": ...}
with "finished", "group", "tenant" and "time" where known. Prompts are embedded; their text is
not stored unless --store-prompts is given. Imported records count as the newest ones, and servers
that use the file learn them within seconds.
"""
PRUNE = """\
Delete records. A record is deleted where all conditions given hold: it is of that group, of that
tenant, older than that, and not among the newest N of these. A server that runs goes on knowing
what it has learned until it is started again.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sub-commands and their flags."""
    parts = parser.add_subparsers(title="what", metavar="WHAT", required=True)
    _add_info(parts)
    _add_export(parts)
    _add_import(parts)
    _add_prune(parts)


def _add_info(parts: Any) -> None:
    info = _part(parts, "info", "what is in the file", "What is in the file.")
    info.add_argument("--json", action="store_true", help="print one JSON object instead")
    info.set_defaults(run=_run("info"))


def _add_export(parts: Any) -> None:
    says = "Write the records as JSON lines, oldest first; a prompt's text only where it is stored."
    export = _part(parts, "export", "write the records as JSON lines", says)
    export.add_argument(
        "--output", metavar="OUT", default="-", help="a new file; - is standard output (-)"
    )
    export.add_argument(
        "--vectors", action="store_true", help="with the vectors, so that they can be imported"
    )
    export.set_defaults(run=_run("export"))


def _add_import(parts: Any) -> None:
    add = _part(parts, "import", "add records from JSON lines", IMPORT)
    add.add_argument("input", metavar="IN", help="JSON lines, gzipped or not; - is standard input")
    add.add_argument("--embedder", default="auto", help="as SAGESCHED_EMBEDDER (auto)")
    add.add_argument("--store-prompts", action="store_true", help="store the prompts' text, too")
    add.add_argument(
        "--strict",
        action="store_true",
        help="import nothing if any line is bad (else it is left out)",
    )
    add.set_defaults(run=_run("import"))


def _add_prune(parts: Any) -> None:
    prune = _part(parts, "prune", "delete records", PRUNE)
    prune.add_argument("--keep", metavar="N", type=_count, help="not the newest N")
    prune.add_argument(
        "--older-than", metavar="AGE", type=_age, help="such as 12h, 30d or 8w, by when they ended"
    )
    prune.add_argument("--group", metavar="NAME", help="of this group; '' is the unnamed one")
    prune.add_argument("--tenant", metavar="NAME", help="of this tenant; '' is the unnamed one")
    prune.add_argument("--dry-run", action="store_true", help="say how many, delete none")
    prune.set_defaults(run=_run("prune"))


def _part(parts: Any, name: str, short: str, description: str) -> argparse.ArgumentParser:
    part: argparse.ArgumentParser = parts.add_parser(name, help=short, description=description)
    default = os.environ.get(VARIABLE, "").strip()
    part.add_argument(
        "--file",
        metavar="FILE",
        type=lambda text: Path(text).expanduser(),
        default=default or None,
        required=not default,
        help=f"the history file ({VARIABLE})",
    )
    return part


def _run(name: str) -> Callable[[argparse.Namespace], int]:
    """The sub-command's function, behind what turns errors into words."""

    def run(options: argparse.Namespace) -> int:
        from sagesched.history import commands
        from sagesched.history.errors import in_words

        try:
            return commands.RUN[name](options)
        except KeyboardInterrupt:
            print(f"sagesched history {name}: interrupted", file=sys.stderr)
            return 130
        except BrokenPipeError:  # `| head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except Exception as error:
            print(f"sagesched history {name}: error: {in_words(error)}", file=sys.stderr)
            return FAILED

    return run


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}")
    return int(text)


def _age(text: str) -> float:
    found = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)([hdw])", text, re.ASCII)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected an age such as 12h, 30d or 8w, got {text!r}")
    return float(found[1]) * _UNITS[found[2]]
