"""Where and with what the figures were made."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sagesched.plugin.settings import POLICIES as OURS
from sagesched.replay.policies.base import Policy

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = ("python", "csrc")
PACKAGE = Path("python/sagesched")
POLICIES = PACKAGE / "replay" / "policies"
FOR_PEOPLE = {
    "cli.py", "flags.py", "plan.py", "session.py", "progress.py", "output.py", "table.py",
    "report", "details.py", "processes.py", "runner.py",
    "calibrate.py", "probe.py", "probe_plan.py", "measure.py", "server_info.py", "fitting.py",
    "fitted.py",
}  # fmt: skip
"""Files and folders of ``replay`` that decide nothing about a run here: they may change. The last
ones are about calibrated step times, of which the comparison has none."""

COMMON = {"replay", "lengths.py", "cost.py"}
"""What every replay goes through, of the package."""

PREDICTING = {*COMMON, "predict", "gittins.py"}
"""What a policy goes through that is told predicted lengths; the index kernel besides."""


@dataclass(frozen=True)
class Origin:
    """What decides the figures beside the settings, and where they were made.

    Attributes:
        commit: of the repository, with "+" behind it if the sources differ from it.
        codes: by policy, the digest of the sources that decide its results: equal for equal code,
            whatever the commit, so that a change to one policy leaves the others' results valid.
        sglang: its version.
        hardware: cores, processor and Python.
    """

    commit: str
    codes: Mapping[str, str]
    sglang: str
    hardware: str


def origin(sglang: str, policies: Mapping[str, type[Policy]]) -> Origin:
    """Of the working tree and machine of now."""
    helpers = _helpers(policies.values())
    codes = {name: _digest(policy, helpers) for name, policy in policies.items()}
    return Origin(commit(), codes, sglang, _hardware())


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def commit() -> str:
    """Of the checkout, with "+" behind it if the sources differ from it."""
    changed = _git("status", "--porcelain", "--", *SOURCES)
    return (_git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if changed else "")


def _digest(policy: type[Policy], helpers: set[str]) -> str:
    wanted = helpers | {_file_name(kind) for kind in policy.__mro__}
    digest = hashlib.sha256()
    for file in _source_files():
        if _decides(policy, file, wanted):
            digest.update(str(file).encode())
            digest.update((REPOSITORY / file).read_bytes())
    return digest.hexdigest()[:12]


@cache
def _source_files() -> tuple[Path, ...]:
    found = [file for folder in SOURCES for file in (REPOSITORY / folder).rglob("*")]
    kept = [file.relative_to(REPOSITORY) for file in found if file.suffix in {".py", ".cpp", ".h"}]
    return tuple(sorted(kept))


def _decides(policy: type[Policy], file: Path, policy_files: set[str]) -> bool:
    if file.parent == POLICIES:
        return file.name in policy_files
    if not file.is_relative_to(PACKAGE):
        return policy.uses == "distribution" or policy.flag in OURS
    parts = file.relative_to(PACKAGE).parts
    if parts[0] == "replay" and not FOR_PEOPLE.isdisjoint(parts):
        return False
    if policy.flag in OURS:
        return policy.uses == "distribution" or parts[0] != "predict"
    return parts[0] in (PREDICTING if policy.uses == "distribution" else COMMON)


def _helpers(policies: Iterable[type[Policy]]) -> set[str]:
    """Files beside the policies that define none."""
    own = {_file_name(policy) for policy in policies}
    return (
        {file.name for file in _source_files() if file.parent == POLICIES} - own - {"registry.py"}
    )


def _file_name(kind: type[object]) -> str:
    return kind.__module__.rpartition(".")[2] + ".py"


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
