"""The requests of SGLang's request log with their ends, which a replay of a trace does not need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sagesched.evaluate.rows import Row
from sagesched.replay.readers.base import Tally, lines
from sagesched.replay.readers.log_lines import Logged, parse_line
from sagesched.replay.readers.request_log import HEALTH_CHECK


def rows_of_log(file: Path, tally: Tally) -> Iterator[Row]:
    """The finished requests, in order of their ends.

    Raises:
        TraceError: a malformed line of a request.
    """
    received_s: dict[str, float] = {}
    for number, line in lines(file, tally):
        try:
            logged = parse_line(line)
        except (ValueError, RecursionError) as error:
            tally.bad(file, number, error)
            continue
        if logged is None:
            tally.count("other lines of the log, passed over")
        elif logged.rid.startswith(HEALTH_CHECK):
            tally.count("lines of health checks, passed over")
        elif not logged.finished:
            received_s.setdefault(logged.rid, logged.time_s)
        elif not logged.completion_tokens:
            tally.count("requests that ended without output, left out")
        else:
            yield _row(logged, received_s.pop(logged.rid, logged.time_s - logged.latency_s))


def _row(logged: Logged, arrival_s: float) -> Row:
    return Row(
        logged.text,
        logged.completion_tokens,
        finished=not logged.aborted,
        arrival_s=arrival_s,
        finish_s=logged.time_s,
    )
