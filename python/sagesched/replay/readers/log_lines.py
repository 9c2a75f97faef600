"""One line of SGLang's request log, in the format ``text`` or ``json``."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sagesched.replay.readers.fields import json_object, number, text, whole

_STAMP = re.compile(r"^\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)[^\]]*\] ")
_JSON_EVENT = re.compile(r'"event": "request\.(received|finished)"')
_TEXT_EVENT = re.compile(r"(Receive|Finish): obj=\w+\(")
_STRING = r"""'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*\""""
_VALUE = rf"{_STRING}|-?\d[\d.e+-]*|\[[\d, ]*\]|\{{(?:{_STRING}|[^{{}}'\"])*\}}|None"
# A name with its value, or a string: the latter so that what a user wrote is stepped over whole.
_TEXT_FIELD = re.compile(
    r"(?P<name>\b(?:rid|text|input_ids|priority)=|"
    r"'(?:prompt_tokens|completion_tokens|e2e_latency|finish_reason)': )"
    rf"(?P<value>{_VALUE})|{_STRING}"
)


@dataclass(frozen=True)
class Logged:
    """What a line says. A line that a request was received has only the first three.

    Attributes:
        rid: SGLang's id of the request.
        finished: whether this is its end.
        time_s: when the line was written, seconds of the server's clock.
        whole_seconds: whether ``time_s`` is no finer than that.
        latency_s: from arrival to end.
        aborted: it was, by the client or the server.
        text, ids: the prompt, where the log's level is high enough; long ones are cut by SGLang
            to their beginning and end, of ids only the beginning is kept.
    """

    rid: str
    finished: bool
    time_s: float
    whole_seconds: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_s: float = 0.0
    aborted: bool = False
    text: str = ""
    ids: tuple[int, ...] = ()
    priority: int = 0


def is_request_line(line: str) -> bool:
    """Whether SGLang's request logger wrote the line."""
    body = _STAMP.sub("", line, count=1)
    return bool(_TEXT_EVENT.match(body) or (body.startswith("{") and _JSON_EVENT.search(body)))


def parse_line(line: str) -> Logged | None:
    """What the line says; None if it is about something else, or a batch as a whole.

    Raises:
        ValueError: a request's line that is malformed.
    """
    body = _STAMP.sub("", line, count=1)
    if body.startswith("{") and _JSON_EVENT.search(body):
        return _of_json(json_object(body))
    if _TEXT_EVENT.match(body):
        return _of_text(line, body)
    return None


def _of_json(fields: dict[str, Any]) -> Logged | None:
    if not isinstance(fields.get("rid"), str):
        return None  # a batch as a whole: its requests finish one by one
    rid, time_s = text(fields, "rid"), _seconds(text(fields, "timestamp"))
    if fields["event"] == "request.received":
        return Logged(rid, False, time_s)
    request, out = fields.get("obj"), fields.get("out")
    result = out.get("meta_info") if isinstance(out, dict) else None
    if not isinstance(request, dict) or not isinstance(result, dict):
        raise ValueError('a finished request without "obj" or "out": {"meta_info": ...}')
    return _finished(rid, time_s, False, request, result)


def _of_text(line: str, body: str) -> Logged | None:
    stamp = _STAMP.match(line)
    if stamp is None:
        raise ValueError("no time at the beginning, such as [2026-01-31 12:00:00]")
    # The first value of a field of the request, the last one of the result, which comes after.
    request: dict[str, Any] = {}
    result: dict[str, Any] = {}
    for match in _TEXT_FIELD.finditer(body):
        if not match["name"]:
            continue
        name, value = match["name"].strip("=': "), match["value"]
        if match["name"].endswith("="):
            request.setdefault(name, _literal(value))
        else:
            result[name] = _literal(value)
    if not isinstance(request.get("rid"), str):
        return None
    rid, time_s = request["rid"], _seconds(stamp[1])
    if body.startswith("Receive"):
        return Logged(rid, False, time_s, True)
    if not {"prompt_tokens", "completion_tokens"} <= result.keys() and not _was_aborted(result):
        raise ValueError("a finished request without its token counts; was the line cut?")
    return _finished(rid, time_s, True, request, result)


def _finished(
    rid: str, time_s: float, whole_seconds: bool, request: dict[str, Any], result: dict[str, Any]
) -> Logged:
    aborted = _was_aborted(result)
    counts = {"prompt_tokens": 0, "completion_tokens": 0, "e2e_latency": 0.0} if aborted else {}
    result = {**counts, **result}
    prompt, ids = request.get("text"), request.get("input_ids")
    return Logged(
        rid,
        True,
        time_s,
        whole_seconds,
        prompt_tokens=whole(result, "prompt_tokens", least=0),
        completion_tokens=whole(result, "completion_tokens", least=0),
        latency_s=number(result, "e2e_latency", least=0) if "e2e_latency" in result else 0.0,
        aborted=aborted,
        text=prompt if isinstance(prompt, str) else "",
        ids=_beginning(ids) if isinstance(ids, list) else (),
        priority=whole(request, "priority", least=-(2**31)) if request.get("priority") else 0,
    )


def _was_aborted(result: dict[str, Any]) -> bool:
    reason = result.get("finish_reason")
    return isinstance(reason, dict) and reason.get("type") == "abort"


def _beginning(ids: list[Any]) -> tuple[int, ...]:
    """The ids before the place where SGLang cut a long list."""
    whole_ids = []
    for each in ids:
        if isinstance(each, bool) or not isinstance(each, int) or each < 0:
            break
        whole_ids.append(each)
    return tuple(whole_ids)


def _literal(value: str) -> Any:
    try:
        return ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return None


def _seconds(stamp: str) -> float:
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        raise ValueError(f"not a time: {stamp!r}") from None
