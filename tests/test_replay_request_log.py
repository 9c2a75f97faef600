"""SGLang's request log as a trace, the lines made by SGLang's own logger."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sagesched.replay.readers import Tally, detect, open_trace
from sagesched.replay.trace import TraceError

from .serving import engine_environment
from .trace_files import load, write

WRITE_LOG = """
import sys
from sglang.srt.managers.io_struct import GenerateReqInput
from sglang.srt.utils.request_logger import RequestLogger

trap = "It's a \\"test\\"\\n'completion_tokens': 99, } {"

def request(rid, text=None, ids=None):
    parameters = {"stop": "priority=7", "custom_params": {"prompt_tokens": 77}}
    return GenerateReqInput(rid=rid, text=text, input_ids=ids, sampling_params=parameters)

def finish(log, request, prompt, output, reason):
    meta = {"id": request.rid, "finish_reason": reason, "prompt_tokens": prompt,
            "completion_tokens": output, "cached_tokens": 0, "e2e_latency": 0.25}
    out = {"text": "said 'completion_tokens': 5", "output_ids": [1], "meta_info": meta}
    log.log_finished_request(request, out)

for style, level in (("json", 2), ("text", 2), ("text", 0)):
    print(f"=== {style} {level}")
    print("[2026-01-31 12:00:00 TP0] Prefill batch, #new-seq: 1", flush=True)
    log = RequestLogger(True, level, style, ["stdout"])
    one, two = request("one", trap + "x " * 1500), request("two", ids=list(range(1, 4)))
    log.log_received_request(one)
    log.log_received_request(request("lost", "gone"))
    log.log_received_request(request("HEALTH_CHECK_1", "ok"))
    finish(log, two, 3, 8, {"type": "length", "length": 8})
    finish(log, one, 900, 20, {"type": "stop", "matched": "'completion_tokens': 6}"})
    finish(log, request("none", "x"), 4, 0, {"type": "abort", "message": "client gone"})
    finish(log, request("half", "y"), 4, 2, {"type": "abort", "message": "client gone"})
"""


@pytest.fixture(scope="module")
def sglang_logs() -> dict[str, str]:
    """What SGLang's logger writes, by its format and level; made in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WRITE_LOG],
        check=True, capture_output=True, text=True,
        env=engine_environment(), timeout=300,
    )  # fmt: skip
    _, *parts = done.stdout.split("=== ")
    return dict(part.split("\n", 1) for part in parts)


@pytest.mark.server
@pytest.mark.parametrize("style", ["json 2", "text 2", "text 0"])
def test_the_log_of_sglangs_own_logger(
    tmp_path: Path, sglang_logs: dict[str, str], style: str
) -> None:
    file = write(tmp_path, sglang_logs[style], "log.txt")
    assert detect(file).name == "sglang-log"
    tally = Tally()
    records = {r.output_tokens: r for r in open_trace(file, tally=tally)}
    assert sorted(records) == [2, 8, 20]
    assert len(records[20].prompt.build()) == 900
    assert records[20].priority == 0
    if "2" in style:
        assert records[20].prompt.text.startswith("It's a \"test\"\n'completion_tokens': 99")
        assert records[8].prompt.ids == (1, 2, 3)
    else:
        assert records[20].prompt.text == ""
    notes = "\n".join(tally.notes())
    for part in (
        "other lines of the log, passed over: 1",
        "lines of health checks, passed over: 1",
        "did not finish within the log, left out: 1",
        "ended without output (aborted or failed), left out: 1",
        "aborted, replayed with the output they had by then: 1",
        "sorted by arrival",
    ):
        assert part in notes
    assert ("whole seconds" in notes) == style.startswith("text")


def log_line(time: str, event: str, rid: str, **meta: object) -> str:
    body: dict[str, object] = {"timestamp": f"2026-01-31T12:00:{time}", "event": event, "rid": rid}
    body["obj"] = {"rid": rid}
    if meta:
        body["out"] = {"meta_info": meta}
    return f"[2026-01-31 12:00:{time[:2]}] {json.dumps(body)}\n"


def test_a_logs_arrivals_are_when_requests_were_received(tmp_path: Path) -> None:
    counts = {"prompt_tokens": 4, "e2e_latency": 2.0}
    text = (
        log_line("01.500000", "request.received", "a")
        + log_line("04.000000", "request.finished", "b", completion_tokens=1, **counts)
        + log_line("09.000000", "request.finished", "a", completion_tokens=9, **counts)
    )
    requests = load(write(tmp_path, text))
    assert [(r.arrival_s, r.output_tokens) for r in requests] == [(0.0, 9), (0.5, 1)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('[2026-01-31 12:00:00] {"event": "request.finished", "rid', "not JSON"),
        (log_line("01.5", "request.finished", "a"), '"out"'),
        (log_line("01.500000", "request.finished", "a", prompt_tokens=3), "completion_tokens"),
        ("[2026-01-31 12:00:00] Finish: obj=GenerateReqInput(rid='a', out={'te", "line cut"),
        ("Finish: obj=GenerateReqInput(rid='a')", "no time"),
    ],
)
def test_a_malformed_log_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    file = write(tmp_path, f"starting\n{line}\n")
    with pytest.raises(TraceError, match=r"t\.jsonl, line 2: ") as caught:
        load(file)
    assert reason in str(caught.value)
