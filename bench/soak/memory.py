"""Resident memory of a server's processes over time."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median

EVERY_S = 2.0
EARLY, LATE = (0.25, 0.35), (0.9, 1.0)
"""Shares of the requests that had ended: growth is from the first span to the second."""
LEAST_SAMPLES = 5
"""In a span; with fewer nothing is said."""
TOKENIZER = "tokenizer"


class MemoryWatch:
    """Samples in a thread, from entering to leaving.

    Args:
        pid: the server's first process.
        progress: share of the requests that have ended, 0..1.

    Attributes:
        samples: by process, such as ``scheduler_TP0``: (progress, bytes).
    """

    def __init__(self, pid: int, progress: Callable[[], float]) -> None:
        self.samples: dict[str, list[tuple[float, int]]] = defaultdict(list)
        self._pid, self._progress = pid, progress
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(EVERY_S):
            at = self._progress()
            for name, used in resident(self._pid).items():
                self.samples[name].append((at, used))


def growth(samples: Mapping[str, list[tuple[float, int]]]) -> dict[str, tuple[int, int]]:
    """By process: median bytes early and late; without those seen too seldom in either."""
    found = {}
    for name, values in samples.items():
        spans = [[used for at, used in values if low <= at <= high] for low, high in (EARLY, LATE)]
        if min(map(len, spans)) >= LEAST_SAMPLES:
            found[name] = (int(median(spans[0])), int(median(spans[1])))
    return found


def resident(pid: int) -> dict[str, int]:
    """Bytes by process, of those that SGLang names and of the one that speaks HTTP."""
    found: dict[str, int] = {}
    for each in _family(pid):
        try:
            command = Path(f"/proc/{each}/cmdline").read_bytes().decode(errors="replace")
            pages = int(Path(f"/proc/{each}/statm").read_text().split()[1])
        except (OSError, IndexError):  # it has just ended
            continue
        name = _name(command)
        if name:
            found[name] = pages * 4096
    return found


def _name(command: str) -> str:
    if command.startswith("sglang::"):
        return command.partition("\0")[0].removeprefix("sglang::").strip()
    return TOKENIZER if "\0bench.soak.launch\0" in command and "guard" not in command else ""


def _family(pid: int) -> Iterator[int]:
    yield pid
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [child for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return
    for child in children:
        yield from _family(int(child))
