"""SGLang's request log: what ``--log-requests`` writes, in both of its formats.

Source: ``sglang/srt/utils/request_logger.py`` of 0.5.23. A finished request has its token counts;
its arrival is the time of its "received" line, or, where that is not in the file, the time of the
"finished" line less ``e2e_latency``. The log is in order of finishing: it is sorted by arrival.
Lines of other kinds, as a server's output has many, are counted and passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from sagesched.replay.prompts import Prompt
from sagesched.replay.readers.base import Format, Head, Record, Tally, lines
from sagesched.replay.readers.log_lines import Logged, is_request_line, parse_line

HEALTH_CHECK = "HEALTH_CHECK"


def _recognises(head: Head) -> bool:
    return any(map(is_request_line, head.lines))


@dataclass
class _Log:
    """What was met so far."""

    received_s: dict[str, float]
    records: list[Record]


def read(file: Path, tally: Tally) -> Iterator[Record]:
    """The finished requests, by arrival; the whole log is read first.

    Raises:
        TraceError: a malformed line of a request.
    """
    log = _Log({}, [])
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
            log.received_s.setdefault(logged.rid, logged.time_s)
        else:
            _finish(f"{file.name}:{number}", f"line {number}", logged, log, tally)
    if log.received_s:
        tally.count("requests that did not finish within the log, left out", len(log.received_s))
    tally.remark("the log is in order of finishing; its requests were sorted by arrival")
    log.records.sort(key=attrgetter("arrival_s"))
    return iter(log.records)


def _finish(key: str, place: str, logged: Logged, log: _Log, tally: Tally) -> None:
    received_s = log.received_s.pop(logged.rid, None)
    if not logged.prompt_tokens or not logged.completion_tokens:
        tally.count("requests that ended without output (aborted or failed), left out")
        return
    if received_s is None:
        received_s = logged.time_s - logged.latency_s
        tally.count("requests whose arrival is their end less e2e_latency")
    if logged.whole_seconds:
        tally.remark("the log's text format has whole seconds: arrivals are that coarse")
    if logged.aborted:
        tally.count("requests that were aborted, replayed with the output they had by then")
    pieces = (logged.text,) if logged.text else ()
    prompt = Prompt(key, logged.prompt_tokens, pieces, ids=() if pieces else logged.ids)
    log.records.append(
        Record(place, prompt, logged.completion_tokens, received_s, priority=logged.priority)
    )


FORMAT = Format("sglang-log", "what --log-requests writes, text or json", _recognises, read)
