"""What this machine has: compiler, headers, disk, GPU, an SGLang of the user's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

# Prints what `UserSglang` holds, run by the Python that may have an SGLang.
DESCRIBE = """
import importlib.metadata as m, json, sys
found = {d.metadata["Name"]: d.version for d in m.distributions() if d.metadata["Name"]}
print(json.dumps([m.version("sglang"), sys.prefix, found,
                  [p for p in sys.path if p.rstrip("/").endswith("-packages")]]))
"""


class SetupError(Exception):
    """Something is missing; the message says what to do about it."""


@dataclass(frozen=True)
class UserSglang:
    """An environment of the user's with an SGLang for the GPU; it is used and never changed.

    Attributes:
        python: its interpreter.
        version: SGLang's version.
        packages: version by distribution name.
        folders: where its packages lie.
    """

    python: str
    version: str
    packages: dict[str, str]
    folders: list[str]


def find_user_sglang(venv: Path) -> UserSglang | None:
    """The SGLang of the active Python, if there is one and a GPU for it; not that of ``venv``."""
    for name in ("python3", "python"):
        python = shutil.which(name)
        found = _describe(python) if python else None
        if python and found and Path(found[1]).resolve() != venv.resolve() and has_gpu():
            version, _, packages, folders = found
            return UserSglang(python, version, packages, folders)
    return None


def _describe(python: str) -> tuple[str, str, dict[str, str], list[str]] | None:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", DESCRIBE], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode != 0:  # no SGLang, or no working Python
        return None
    version, prefix, packages, folders = json.loads(done.stdout.splitlines()[-1])
    return version, prefix, packages, folders


def has_gpu() -> bool:
    """Whether ``nvidia-smi`` finds a GPU."""
    if shutil.which("nvidia-smi") is None:
        return False
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return done.returncode == 0 and "GPU" in done.stdout


def check_python() -> None:
    """The headers of Python and the modules that Debian packages apart."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise SetupError(
            f"{sys.executable} cannot make virtual environments; install its venv module "
            f"(Debian, Ubuntu: apt install {version}-venv)"
        ) from None
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise SetupError(
            f"{sys.executable} comes without its C headers (Python.h); install them "
            f"(Debian, Ubuntu: apt install {version}-dev)"
        )


def check_compiler() -> None:
    """A C++ compiler; CMake and Ninja come with pip."""
    named = os.environ.get("CXX")
    candidates = [named.split()[0]] if named else ["c++", "g++", "clang++"]
    if not any(map(shutil.which, candidates)):
        raise SetupError(
            f"no C++ compiler found (looked for {', '.join(candidates)}); install one "
            "(Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++)"
        )


def check_disk(folder: Path, needed_gib: float) -> None:
    """Room for the environment where it will lie."""
    while not folder.exists():
        folder = folder.parent
    free_gib = shutil.disk_usage(folder).free / 2**30
    if free_gib < needed_gib:
        raise SetupError(
            f"{folder} has {free_gib:.1f} GiB free, and about {needed_gib:g} GiB are needed; make "
            "room, or set SAGESCHED_VENV to a folder on a larger disk"
        )
