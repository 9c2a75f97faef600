"""The table of ``scripts/matrix``: which tests on real servers passed on which SGLang release.

    python -m bench.matrix RELEASE=JUNIT_FILE ...
"""

from __future__ import annotations

import sys
from collections import Counter
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

BAD = ("failure", "error")


def outcomes(path: Path) -> dict[str, Counter[str]]:
    """By test file: how many tests passed, failed, were skipped."""
    found: dict[str, Counter[str]] = {}
    for case in ElementTree.parse(path).iter("testcase"):
        file = case.get("classname", "").removeprefix("tests.").split(".")[0]
        kinds = {child.tag for child in case}
        kind = "failed" if kinds & set(BAD) else "skipped" if "skipped" in kinds else "passed"
        found.setdefault(file, Counter())[kind] += 1
    return found


def not_passed(path: Path) -> list[str]:
    """A line for each test that did not pass: its name and why."""
    lines = []
    for case in ElementTree.parse(path).iter("testcase"):
        for child in case:
            if child.tag in (*BAD, "skipped"):
                reason = (child.get("message") or "").splitlines() or [""]
                lines.append(f"`{case.get('name')}` {child.tag}: {reason[0][:120]}")
    return lines


def table(results: dict[str, Path]) -> str:
    """The whole report."""
    found = {release: outcomes(path) for release, path in results.items()}
    files = sorted({file for release in found.values() for file in release})
    lines = [
        "# Tests on real servers, by SGLang release",
        "",
        f"Last run of `scripts/matrix`: {date.today().isoformat()}, on SGLang's CPU engine.",
        "",
        "| tests | " + " | ".join(found) + " |",
        "|---|" + "---|" * len(found),
    ]
    for file in files:
        cells = [_cell(release.get(file, Counter())) for release in found.values()]
        lines.append(f"| `{file}.py` | " + " | ".join(cells) + " |")
    for release, path in results.items():
        exceptions = not_passed(path)
        if exceptions:
            lines += ["", f"On {release}:", "", *(f"- {line}" for line in exceptions)]
    return "\n".join(lines) + "\n"


def _cell(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[k]} {k}" for k in ("passed", "failed", "skipped") if counts[k]) or "-"


def main(arguments: list[str]) -> int:
    """Print the table."""
    pairs = [argument.partition("=") for argument in arguments]
    sys.stdout.write(table({release: Path(path) for release, _, path in pairs}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
