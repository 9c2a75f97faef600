"""Runs commands of the new environment: quiet when they work, telling when they do not."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from environment.machine import SetupError

TAIL_LINES = 25


class Environment:
    """The virtual environment that is being made, and the log of what ran in it."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder = folder
        self.log = log
        self.python = folder / "bin" / "python"

    def run(self, *command: str | Path, advice: str, env: dict[str, str] | None = None) -> None:
        """Run a command, its output going to the log.

        Raises:
            SetupError: it failed; the message ends with its last lines and ``advice``.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            done = subprocess.run(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=clean_environment() | (env or {}),
                check=False,
            )
        if done.returncode != 0:
            lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
            failed = "this failed: " + " ".join(map(str, command))
            raise SetupError("\n".join([failed, *lines, advice]))

    def pip(self, *arguments: str | Path) -> None:
        """``pip install`` into the environment."""
        self.run(
            *(self.python, "-m", "pip", "install", "--quiet", "--no-input"),
            *("--disable-pip-version-check", *arguments),
            advice="Mend that and run scripts/setup again; it goes on where it stopped. If it is "
            "the network: pip's own settings apply (PIP_INDEX_URL, PIP_PROXY, PIP_CERT, ...).",
        )

    def needs_cuda_packages(self, requirement: str) -> bool:
        """Whether the build that pip would choose for ``requirement`` brings CUDA libraries."""
        report = self._resolve(requirement)
        wanted = [
            needed
            for item in report.get("install", [])
            for needed in item.get("metadata", {}).get("requires_dist", [])
        ]
        return any(needed.startswith(("nvidia-", "cuda-")) for needed in wanted)

    def _resolve(self, requirement: str) -> dict[str, Any]:
        command = [str(self.python), "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--report", "-", requirement]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=clean_environment()
        )
        # A failure is told by the installation itself, which comes next.
        report: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
        return report


def clean_environment() -> dict[str, str]:
    """Our environment without what would send a Python to other packages than its own."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
