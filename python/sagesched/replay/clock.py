"""The virtual clock, in place of the process's own while a replay runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

START_S = 1000.0
"""SGLang takes a time stamp of 0 for "not set", so the clock starts later."""

REAL_PERF_COUNTER = time.perf_counter


class VirtualClock:
    """Seconds that pass only when the replay says so."""

    def __init__(self) -> None:
        self.now = START_S

    def read(self) -> float:
        """Seconds."""
        return self.now

    def read_ns(self) -> int:
        """Nanoseconds."""
        return int(self.now * 1e9)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Within this block ``time.*`` reads the virtual clock, for the whole process."""
        from sglang.srt.observability import req_time_stats

        seconds = ("perf_counter", "time", "monotonic")
        places: list[tuple[Any, str, Any]] = [(time, name, self.read) for name in seconds]
        places += [(time, f"{name}_ns", self.read_ns) for name in seconds]
        # These were bound when the module was imported.
        places += [
            (req_time_stats, "real_time", self.read),
            (req_time_stats, "monotonic_time", self.read),
            (req_time_stats, "global_diff_realtime_monotonic", 0.0),
        ]
        stock = [(module, name, getattr(module, name)) for module, name, _ in places]
        try:
            for module, name, replacement in places:
                setattr(module, name, replacement)
            yield
        finally:
            for module, name, original in stock:
                setattr(module, name, original)


class VirtualEvent:
    """Stands for a device event: a result is there when the virtual device is."""

    def __init__(self, clock: VirtualClock, due: float) -> None:
        self._clock = clock
        self._due = due

    def synchronize(self) -> None:
        """Wait, virtually."""
        self._clock.now = max(self._clock.now, self._due)

    def query(self) -> bool:
        """Whether it has happened."""
        return self._clock.now >= self._due

    def record(self, *args: object) -> None:
        """It was recorded when it was made."""

    def wait(self, *args: object) -> None:
        """Only the host waits, in ``synchronize``."""
