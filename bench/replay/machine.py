"""Where and with what the figures were made."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = ("python", "csrc")
FOR_PEOPLE = {
    "cli.py", "flags.py", "plan.py", "session.py", "progress.py", "output.py", "table.py",
    "report", "details.py", "calibrate.py", "processes.py", "runner.py",
}  # fmt: skip
"""Files and folders of ``replay`` that decide nothing about a run: they may change."""


@dataclass(frozen=True)
class Origin:
    """What decides the figures beside the settings, and where they were made.

    Attributes:
        commit: of the repository, with "+" behind it if the sources differ from it.
        code: digest of the sources that decide a result: equal for equal code, whatever the commit.
        sglang: its version.
        hardware: cores, processor and Python.
    """

    commit: str
    code: str
    sglang: str
    hardware: str


def origin(sglang: str) -> Origin:
    """Of the working tree and machine of now."""
    return Origin(_commit(), _digest(), sglang, _hardware())


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def _commit() -> str:
    changed = _git("status", "--porcelain", "--", *SOURCES)
    return (_git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if changed else "")


def _digest() -> str:
    digest = hashlib.sha256()
    for folder in SOURCES:
        for file in sorted((REPOSITORY / folder).rglob("*")):
            if file.suffix in {".py", ".cpp", ".h"} and not _is_for_people(file):
                digest.update(str(file.relative_to(REPOSITORY)).encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _is_for_people(file: Path) -> bool:
    inside = file.relative_to(REPOSITORY).parts
    return "replay" in inside and not FOR_PEOPLE.isdisjoint(inside)


def _hardware() -> str:
    cores = os.cpu_count()
    return f"{cores} cores {_processor()}, Python {platform.python_version()}"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()
