"""What the figures were made on."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def hardware() -> str:
    """Cores, processor and Python, such as "2 cores Intel(R) Xeon(R), Python 3.11.7"."""
    return f"{os.cpu_count()} cores {_processor()}, Python {platform.python_version()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
