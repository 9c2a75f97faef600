"""A trace from a file as a workload, with its own arrival times or others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.replay.arrivals import Arrivals, Poisson
from sagesched.replay.generators import check_rate
from sagesched.replay.readers import Record, Tally, open_trace
from sagesched.replay.trace import TraceError, TraceRequest

MOST_IN_MEMORY = 200_000
"""Requests; a longer trace is streamed, and has no other samples than the recorded one."""

_START_STEP = 1117
"""Seed s begins at arrival 1117 * s of the file and goes round: far apart, the same every time."""


@dataclass(frozen=True)
class Summary:
    """What one pass over a file found.

    Attributes:
        n: requests.
        span_s: from the first arrival to the last; None without times.
        longest_output: in tokens.
        cut: outputs that are longer than the limit asked for.
        notes: what was left out or assumed.
    """

    n: int
    span_s: float | None
    first_s: float
    longest_output: int
    cut: int
    notes: tuple[str, ...]


@dataclass
class RecordedWorkload:
    """The requests of a file.

    Seed 0 is the file as recorded. Another seed has the recorded gaps between arrivals, beginning
    elsewhere and going round, and another permutation of the requests on them: turns of one
    conversation may then come in another order. With ``arrivals`` the recorded times are not used.

    The file is looked over once when this is made, so that what is wrong with it is said before
    anything runs, and read again for every sample. Only samples of other seeds than 0 hold the
    records in memory, up to `MOST_IN_MEMORY` of them.

    Attributes:
        name: for tables and files.
        file: the trace.
        fmt: its format; None: told from the content.
        n: only the first so many requests.
        arrivals: instead of the recorded times; Poisson where there are none.
        output_limit: longer outputs are cut to it.
        summary: what a look over the file found.
        max_output_tokens: the longest output, or the limit where that is shorter.

    Raises:
        TraceError: the file is malformed or has no requests.
    """

    name: str
    file: Path
    fmt: str | None = None
    n: int | None = None
    arrivals: Arrivals | None = None
    output_limit: int | None = None
    summary: Summary = field(init=False)
    max_output_tokens: int = field(init=False)
    _kept: list[Record] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        if self.n is not None and self.n < 1:
            raise ValueError(f"a workload needs at least 1 request, got n = {self.n}")
        if self.output_limit is not None and self.output_limit < 1:
            raise ValueError(f"outputs need at least 1 token, got a limit of {self.output_limit}")
        self.summary = self._look_over()
        longest = self.summary.longest_output
        self.max_output_tokens = min(longest, self.output_limit or longest)

    @property
    def recorded_rate_rps(self) -> float | None:
        """Requests per second as recorded; None where the file's times are not used."""
        span_s = self.summary.span_s
        return None if self.arrivals or not span_s else self.summary.n / span_s

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the results should know about the trace."""
        summary = self.summary
        notes = list(summary.notes)
        if not summary.span_s and self.arrivals is None:
            have = "no arrival times" if summary.span_s is None else "one arrival time for all"
            notes.append(f"the trace has {have}: they are drawn, Poisson")
        if summary.span_s is not None and self.arrivals is not None:
            notes.append("the recorded arrival times are not used")
        if summary.cut:
            notes.append(f"outputs cut to {self.output_limit} tokens: {summary.cut}")
        return tuple(f"{self.file.name}: {note}" for note in notes)

    def law(self, cluster: str, grid: LengthGrid) -> LengthDistribution | None:
        """None: a trace does not know it."""
        del cluster, grid
        return None

    def requests(self, *, seed: int, rate_rps: float | None) -> Iterator[TraceRequest]:
        """The requests of a seed; see `Workload.requests`.

        Raises:
            ValueError: a rate that is not above 0.
            TraceError: a seed other than 0 of a trace that is too long to be kept in memory.
        """
        check_rate(rate_rps)
        if seed and self.summary.n > MOST_IN_MEMORY:
            raise TraceError(
                f"{self.file}: {self.summary.n} requests are too many to shuffle (at most "
                f"{MOST_IN_MEMORY}): use seed 0 (--seeds 1 --seed-base 0), or a part of it (--n)"
            )
        return self._sample(seed, rate_rps)

    def _sample(self, seed: int, rate_rps: float | None) -> Iterator[TraceRequest]:
        longest, summary = self.max_output_tokens, self.summary
        recorded = self.recorded_rate_rps
        if rate_rps is None:
            times = np.zeros(summary.n)
        elif recorded is None:
            # A stream of its own: the permutation of the same seed must not follow from it.
            generator = np.random.default_rng([seed, 1])
            times = (self.arrivals or Poisson()).times(generator, summary.n, rate_rps, seed)
        elif seed:
            times = _rotated(self._in_memory(), seed) * (recorded / rate_rps)
        else:
            for record in self._records():
                since_s = (record.arrival_s or 0.0) - summary.first_s
                yield record.request(since_s * (recorded / rate_rps), longest)
            return
        for time, record in zip(times.tolist(), self._contents(seed), strict=True):
            yield record.request(time, longest)

    def _contents(self, seed: int) -> Iterator[Record]:
        if not seed:
            return self._records()
        records = self._in_memory()
        order = np.random.default_rng(seed).permutation(len(records))
        return (records[i] for i in order)

    def _in_memory(self) -> list[Record]:
        self._kept = self._kept or list(self._records())
        return self._kept

    def _records(self) -> Iterator[Record]:
        return islice(open_trace(self.file, self.fmt), self.n)

    def _look_over(self) -> Summary:
        tally = Tally()
        n, longest, cut = 0, 0, 0
        first_s, last_s = None, None
        limit = float("inf") if self.output_limit is None else self.output_limit
        for record in open_trace(self.file, self.fmt, tally):
            if n == self.n:
                tally.remark(f"only the first {n} requests are replayed")
                break
            if not n:
                first_s = record.arrival_s
            n, last_s = n + 1, record.arrival_s
            longest = max(longest, record.output_tokens)
            cut += record.output_tokens > limit
        if not n:
            reasons = "; ".join(tally.notes()) or "empty"
            raise TraceError(f"{self.file}: no requests to replay ({reasons})")
        span_s = None if first_s is None or last_s is None else last_s - first_s
        return Summary(n, span_s, first_s or 0.0, longest, cut, tally.notes())


def _rotated(records: list[Record], seed: int) -> NDArray[np.float64]:
    """[n] times from 0 with the recorded gaps, beginning elsewhere and going round."""
    recorded = np.array([record.arrival_s for record in records], dtype=np.float64)
    gaps = np.roll(np.diff(recorded), -(seed * _START_STEP))
    return np.concatenate([[0.0], np.cumsum(gaps)])
