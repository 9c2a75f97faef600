"""When requests arrive: Poisson, on/off bursts, Gamma gaps, all at once, or as in a trace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sagesched.replay.readers import open_trace
from sagesched.replay.trace import TraceError

Floats = NDArray[np.float64]

_WINDOW_STEP = 1117
"""The times of seed s begin at arrival 1117 * s of the file: far apart, the same every time."""


class Arrivals(Protocol):
    """A process of arrivals."""

    def times(self, generator: np.random.Generator, n: int, rate_rps: float, seed: int) -> Floats:
        """[n] arrival times in seconds, ascending, with a mean rate of ``rate_rps``."""
        ...


@dataclass(frozen=True)
class Poisson:
    """Exponential gaps."""

    def times(self, generator: np.random.Generator, n: int, rate_rps: float, seed: int) -> Floats:
        """See `Arrivals`."""
        return np.cumsum(generator.exponential(1.0, n)) / rate_rps


@dataclass(frozen=True)
class AtOnce:
    """Everybody is there from the start, whatever the load."""

    def times(self, generator: np.random.Generator, n: int, rate_rps: float, seed: int) -> Floats:
        """See `Arrivals`."""
        return np.zeros(n)


@dataclass(frozen=True)
class Gamma:
    """Gaps of a Gamma law with a given coefficient of variation; 1 is Poisson.

    Raises:
        ValueError: it is not above 0.
    """

    cv: float

    def __post_init__(self) -> None:
        if not 0.0 < self.cv < float("inf"):
            raise ValueError(f"arrivals gamma:CV needs a CV above 0, got {self.cv}")

    def times(self, generator: np.random.Generator, n: int, rate_rps: float, seed: int) -> Floats:
        """See `Arrivals`."""
        shape = 1.0 / self.cv**2
        return np.cumsum(generator.gamma(shape, 1.0 / shape, n)) / rate_rps


@dataclass(frozen=True)
class Bursts:
    """Poisson arrivals at ``ratio`` times the mean rate for ``on_s``, slower for ``off_s``.

    The off rate follows, so that the mean is kept.

    Raises:
        ValueError: times that are not above 0, or a ratio with which the off rate is negative.
    """

    on_s: float
    off_s: float
    ratio: float

    def __post_init__(self) -> None:
        if not (0 < self.on_s < float("inf") and 0 < self.off_s < float("inf")):
            raise ValueError(f"arrivals bursts need times above 0, got {self.on_s}, {self.off_s}")
        highest = (self.on_s + self.off_s) / self.on_s
        if not 0 < self.ratio <= highest:
            raise ValueError(
                f"arrivals bursts:{self.on_s:g},{self.off_s:g},{self.ratio:g}: the ratio can be "
                f"at most {highest:g}, where nothing arrives between bursts"
            )

    def times(self, generator: np.random.Generator, n: int, rate_rps: float, seed: int) -> Floats:
        """See `Arrivals`; every run starts with a burst."""
        even = np.cumsum(generator.exponential(1.0, n)) / rate_rps
        period = self.on_s + self.off_s
        off_ratio = (period - self.ratio * self.on_s) / self.off_s
        full_periods = np.floor(even / period)
        # Of the arrivals of a period, this many seconds' worth (at the mean rate) are in the burst.
        within, in_burst = even - full_periods * period, self.ratio * self.on_s
        moved = np.where(
            within < in_burst,
            within / self.ratio,
            self.on_s + (within - in_burst) / max(off_ratio, 1e-9),
        )
        times: Floats = full_periods * period + moved
        return times


@dataclass(frozen=True)
class Recorded:
    """The times of a trace, scaled to the rate asked for; another seed has another window.

    Attributes:
        file_name: for messages.
        at_s: the times, ascending.
    """

    file_name: str
    at_s: tuple[float, ...]

    def times(self, generator: np.random.Generator, n: int, rate_rps: float, seed: int) -> Floats:
        """See `Arrivals`.

        Raises:
            TraceError: there are fewer than ``n``, or they are all the same.
        """
        spare = len(self.at_s) - n
        if spare < 0:
            raise TraceError(
                f"{self.file_name}: {len(self.at_s)} arrival times for {n} requests; ask for "
                "fewer requests (--n)"
            )
        start = (seed * _WINDOW_STEP) % spare if spare else 0
        window = np.array(self.at_s[start : start + n])
        window -= window[0]
        if n > 1 and window[-1] <= 0:
            raise TraceError(f"{self.file_name}: {n} requests at one time cannot have a rate")
        return window * (n / rate_rps / window[-1]) if n > 1 else window


def read_arrivals(file: Path, fmt: str | None = None) -> Recorded:
    """The arrival times of a trace in any of the formats.

    Raises:
        TraceError: malformed, empty or without times.
    """
    times = [record.arrival_s for record in open_trace(file, fmt)]
    known = tuple(time for time in times if time is not None)
    if not known:
        raise TraceError(f"{file}: no arrival times in it")
    return Recorded(file.name, known)


def make_arrivals(spec: str) -> Arrivals:
    """``poisson``, ``gamma:CV``, ``bursts:ON_S,OFF_S,RATIO``, ``at-once`` or ``file:TRACE``.

    Raises:
        ValueError: another name, or bad values; a TraceError for a bad file.
    """
    name, _, rest = spec.partition(":")
    if name == "file" and rest:
        return read_arrivals(Path(rest))
    try:
        values = [float(part) for part in rest.split(",")] if rest else []
    except ValueError:
        values = [float("nan")] * 9
    makers: dict[tuple[str, int], type[Arrivals]] = {
        ("poisson", 0): Poisson,
        ("at-once", 0): AtOnce,
        ("gamma", 1): Gamma,
        ("bursts", 3): Bursts,
    }
    if (name, len(values)) not in makers:
        raise ValueError(
            f"unknown arrivals {spec!r}; choose poisson, gamma:CV, bursts:ON_S,OFF_S,RATIO, "
            "at-once or file:TRACE"
        )
    return makers[name, len(values)](*values)
