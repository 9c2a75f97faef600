"""The table of ``scripts/matrix``: which tests on real servers passed on which SGLang release.

``python -m bench.matrix RELEASE=JUNIT_FILE ...``
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

from bench.replay import machine

OUTCOMES = {"failure": "failed", "error": "failed", "skipped": "skipped"}


@dataclass(frozen=True)
class Case:
    """What came out of one test."""

    file: str
    name: str
    outcome: str
    reason: str


def cases(paths: Sequence[Path]) -> list[Case]:
    """Every test of these JUnit files; of one that is in several, the last result."""
    found: dict[tuple[str, str], Case] = {}
    for path in paths:
        for case in ElementTree.parse(path).iter("testcase"):
            file = case.get("classname", "").removeprefix("tests.").split(".")[0]
            name = case.get("name", "")
            outcome, reason = "passed", ""
            for child in case:
                if child.tag in OUTCOMES:
                    outcome = OUTCOMES[child.tag]
                    reason = (child.get("message") or "?").splitlines()[0][:120]
            found[file, name] = Case(file, name, outcome, reason)
    return list(found.values())


def table(results: Mapping[str, Sequence[Case]]) -> str:
    """The whole report."""
    files = sorted({case.file for found in results.values() for case in found})
    lines = [
        "# Tests on real servers, by SGLang release",
        "",
        f"Last run of `scripts/matrix`: {date.today().isoformat()}, commit {machine.commit()}.",
        "",
        "| tests | " + " | ".join(results) + " |",
        "|---|" + "---|" * len(results),
    ]
    for file in files:
        cells = [_cell(Counter(c.outcome for c in r if c.file == file)) for r in results.values()]
        lines.append(f"| `{file}.py` | " + " | ".join(cells) + " |")
    for release, found in results.items():
        exceptions = [case for case in found if case.outcome != "passed"]
        if exceptions:
            lines += ["", f"On {release}:", ""]
            lines += [f"- `{case.name}` {case.outcome}: {case.reason}" for case in exceptions]
    return "\n".join(lines) + "\n"


def _cell(counts: Counter[str]) -> str:
    kinds = ("passed", "failed", "skipped")
    return ", ".join(f"{counts[kind]} {kind}" for kind in kinds if counts[kind]) or "-"


def main(arguments: list[str]) -> int:
    """Print the table."""
    files: dict[str, list[Path]] = {}
    for argument in arguments:
        release, _, path = argument.partition("=")
        files.setdefault(release, []).append(Path(path))
    sys.stdout.write(table({release: cases(paths) for release, paths in files.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
