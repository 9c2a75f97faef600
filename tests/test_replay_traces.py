"""Trace files: every format, what is wrong with a file, and what a sample of one is."""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagesched.replay import recorded
from sagesched.replay.prompts import Prompt
from sagesched.replay.readers import FORMATS, Tally, detect, open_trace
from sagesched.replay.recorded import RecordedWorkload
from sagesched.replay.trace import (
    FIRST_PROMPT_TOKEN,
    LAST_PROMPT_TOKEN,
    TraceError,
    TraceRequest,
    checked,
)
from sagesched.replay.workloads import make_workload

from .serving import engine_environment

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
OWN = {"arrival_s": 0.5, "prompt": "Hello there", "output_tokens": 3}
MOONCAKE = {"timestamp": 0, "input_length": 1500, "output_length": 5, "hash_ids": [1, 2, 3]}


def write(folder: Path, content: str | bytes | Sequence[object], name: str = "t.jsonl") -> Path:
    """A file of text, bytes, or JSON lines."""
    file = folder / name
    if not isinstance(content, (str, bytes)):
        content = "".join(json.dumps(line) + "\n" for line in content)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def load(file: Path, rate_rps: float | None = None, **options: Any) -> list[TraceRequest]:
    """Seed 0, as recorded unless told."""
    workload = make_workload(file, **options)
    rate = workload.recorded_rate_rps if rate_rps is None else rate_rps
    return list(checked(workload.requests(seed=0, rate_rps=rate), "test"))


def shared_prefix(one: Iterable[int], other: Iterable[int]) -> int:
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


# Formats


def test_azure_rows_with_a_zone_or_without_and_columns_in_any_order(tmp_path: Path) -> None:
    text = (
        "\ufeffContextTokens,TIMESTAMP,GeneratedTokens\r\n"
        "4808,2023-11-16 18:17:03.9799600,10\r\n"
        "7,2023-11-16 18:17:04.2299600+00:00,20\r\n\r\n"
    )
    file = write(tmp_path, text, "a.csv")
    assert detect(file).name == "azure"
    requests = load(file)
    assert [(len(r.prompt), r.output_tokens) for r in requests] == [(4808, 10), (7, 20)]
    assert requests[1].arrival_s == pytest.approx(0.25)


def test_gzip_is_understood_whatever_the_name(tmp_path: Path) -> None:
    plain = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.5,3,4\n"
    file = write(tmp_path, gzip.compress(plain.encode()), "azure.csv")
    assert [len(r.prompt) for r in load(file)] == [3]


def test_mooncake_blocks_become_shared_prefixes(tmp_path: Path) -> None:
    other = {**MOONCAKE, "timestamp": 3000, "input_length": 1200, "hash_ids": [1, 2, 4]}
    third = {**other, "hash_ids": [5, 2, 4]}
    first, second, last = load(write(tmp_path, [MOONCAKE, other, third]))
    assert (len(first.prompt), len(second.prompt)) == (1500, 1200)
    assert shared_prefix(first.prompt, second.prompt) == 1024
    assert shared_prefix(second.prompt, last.prompt) == 0
    assert second.prompt[512:] == last.prompt[512:]
    assert (first.arrival_s, second.arrival_s) == (0.0, 3.0)


def test_mooncake_without_enough_hashes_is_filled_with_unrelated_tokens(tmp_path: Path) -> None:
    first, second = load(write(tmp_path, [{**MOONCAKE, "hash_ids": [9]}] * 2))
    assert len(first.prompt) == 1500
    assert shared_prefix(first.prompt, second.prompt) == 512


def conversation(*messages: str, keys: tuple[str, str, str] = ("conversations", "from", "value")
                 ) -> dict[str, Any]:  # fmt: skip
    field, who, what = keys
    speakers = itertools.cycle(("human", "gpt") if who == "from" else ("user", "assistant"))
    said = [{who: speaker, what: text} for speaker, text in zip(speakers, messages, strict=False)]
    return {"id": "x", field: said}


TALK = conversation("Why is the sky blue?", "Rayleigh scattering, mostly.", "And red?", "Dust!")


@pytest.mark.parametrize("layout", ["list", "pretty", "lines", "roles"])
def test_every_answered_question_of_a_conversation_is_a_request(
    tmp_path: Path, layout: str
) -> None:
    talk = TALK
    if layout == "roles":
        values = (m["value"] for m in TALK["conversations"])
        talk = conversation(*values, keys=("messages", "role", "content"))
    whole = json.dumps([talk], indent=1 if layout == "pretty" else None)
    file = write(tmp_path, whole if layout in ("list", "pretty") else [talk], "x.json")
    assert detect(file).name == "sharegpt"
    first, second = load(file)
    assert first.text == "Why is the sky blue?"
    assert second.text.startswith(f"{first.text}\n\nRayleigh")
    assert shared_prefix(first.prompt, second.prompt) == len(first.prompt) == 5
    assert (first.output_tokens, second.output_tokens) == (7, 2)  # 28 and 5 bytes
    assert any("4 bytes" in note for note in make_workload(file).notes)


def test_conversations_without_an_answer_are_counted(tmp_path: Path) -> None:
    talks = [TALK, conversation("Nobody there?"), conversation("", "What?"), conversation()]
    workload = make_workload(write(tmp_path, json.dumps(talks), "x.json"))
    notes = "\n".join(workload.notes)
    assert "without an answered question, left out: 2" in notes
    assert "empty question or answer, left out: 1" in notes


def test_turns_with_lengths_and_times(tmp_path: Path) -> None:
    turn = {"timestamp_ms": 6000, "prompt": "one two three", "prompt_tokens": 9, "output_tokens": 4}
    later = {**turn, "timestamp_ms": 8500}
    unknown = {**later, "output_tokens": None}
    file = write(tmp_path, [turn, later, unknown])
    assert detect(file).name == "sharegpt"
    first, second = load(file)
    assert len(first.prompt) == 9
    assert first.prompt == second.prompt  # the same text, to its filled up end
    assert (first.arrival_s, second.arrival_s) == (0.0, 2.5)
    workload = make_workload(file)
    assert workload.notes == ("t.jsonl: requests without a token count (null), left out: 1",)


BENCH: dict[str, Any] = {
    "tag": None, "backend": "sglang", "dataset_name": "random", "request_rate": float("inf"),
    "max_concurrency": 8, "request_throughput": 2.5, "duration": 4.0, "completed": 2,
    "input_lens": [10, 20, 30], "output_lens": [5, 0, 7], "ttfts": [0.1, 0, 0.2],
    "itls": [[], [], []], "generated_texts": ["a", "", "b"], "errors": ["", "boom", ""],
}  # fmt: skip


def test_bench_serving_output_and_its_failed_requests(tmp_path: Path) -> None:
    file = write(tmp_path, [BENCH])
    assert detect(file).name == "bench-serving"
    workload = make_workload(file)
    assert workload.recorded_rate_rps is None
    requests = list(workload.requests(seed=0, rate_rps=2.0))
    assert [(len(r.prompt), r.output_tokens) for r in requests] == [(10, 5), (30, 7)]
    assert requests[1].arrival_s > 0
    notes = "\n".join(workload.notes)
    for part in (
        "failed in the benchmark, left out: 1",
        "request_rate inf",
        "at most 8",
        "Poisson",
    ):
        assert part in notes


def test_bench_serving_without_details_or_with_two_runs_says_what_to_do(tmp_path: Path) -> None:
    brief = {name: BENCH[name] for name in ("backend", "request_rate", "completed")}
    with pytest.raises(TraceError, match=r"line 1: .*--output-details"):
        load(write(tmp_path, [brief]))
    with pytest.raises(TraceError, match="line 2: a second benchmark, after that of line 1"):
        load(write(tmp_path, [BENCH, BENCH]))


@pytest.mark.server
def test_bench_serving_still_writes_the_fields_that_are_read() -> None:
    package = importlib.util.find_spec("sglang")
    assert package is not None
    assert package.origin is not None
    source = (Path(package.origin).parent / "benchmark" / "serving.py").read_text("utf-8")
    for field in ("input_lens", "output_lens", "request_rate", "max_concurrency", "backend"):
        assert f'"{field}": ' in source
    assert "output_lens.append(0)" in source  # of a request that failed


# SGLang's request log, as its own logger writes it

WRITE_LOG = """
import sys
from sglang.srt.managers.io_struct import GenerateReqInput
from sglang.srt.utils.request_logger import RequestLogger

trap = "It's a \\"test\\"\\n'completion_tokens': 99, } {"

def request(rid, text=None, ids=None):
    parameters = {"max_new_tokens": 20, "custom_params": {"prompt_tokens": 77}}
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


# Our own JSON lines


def test_own_lines_with_everything(tmp_path: Path) -> None:
    lines = [
        {**OWN, "cluster": "chat", "tenant": "a", "priority": -2},
        {"arrival_s": 1, "prompt_tokens": 100, "prefix_ids": ["sys"], "prefix_block_tokens": 40,
         "output_tokens": 2},
        {"arrival_s": 1.0, "prompt": "What else?", "prompt_tokens": 60, "prefix_ids": ["sys"],
         "prefix_block_tokens": 40, "output_tokens": 2},
        {"arrival_s": 2, "prompt_ids": [5000, 6000, 3, 131071], "output_tokens": 1},
    ]  # fmt: skip
    file = write(tmp_path, lines)
    assert detect(file).name == "own"
    hello, counted, asked, ids = load(file)
    assert (hello.text, hello.cluster, hello.tenant, hello.priority) == (
        "Hello there", "chat", "a", -2,
    )  # fmt: skip
    assert shared_prefix(counted.prompt, asked.prompt) == 40
    assert (len(counted.prompt), len(asked.prompt), asked.text) == (100, 60, "What else?")
    assert list(ids.prompt[:2]) == [5000, 6000]
    assert all(FIRST_PROMPT_TOKEN <= each < LAST_PROMPT_TOKEN for each in ids.prompt)
    assert [r.arrival_s for r in (hello, counted, asked, ids)] == [0.0, 0.5, 0.5, 1.5]


def test_unknown_fields_and_cut_outputs_are_reported(tmp_path: Path) -> None:
    file = write(tmp_path, [{**OWN, "color": "red"}, {**OWN, "output_tokens": 500}])
    workload = make_workload(file, max_output_tokens=100)
    assert workload.max_output_tokens == 100
    assert [r.output_tokens for r in workload.requests(seed=0, rate_rps=None)] == [3, 100]
    assert workload.notes == (
        't.jsonl: lines with the unknown field "color", not used: 1',
        "t.jsonl: outputs cut to 100 tokens: 1",
    )


# What is wrong with a file


@pytest.mark.parametrize(
    ("good", "bad", "reason"),
    [
        (OWN, '{"prompt": ', "not JSON"),
        (OWN, "[1]", "expected a JSON object, got a list"),
        (OWN, "[" * 100_000, "recursion"),
        (OWN, '{"arrival_s": NaN, "prompt": "a", "output_tokens": 1}', "NaN is no number"),
        (OWN, '{"arrival_s": 1e999, "prompt": "a", "output_tokens": 1}', "finite"),
        (OWN, {**OWN, "arrival_s": -1}, "at least 0"),
        (OWN, {**OWN, "arrival_s": "1"}, "must be a number"),
        (OWN, {**OWN, "arrival_s": 0.25}, "arrives 0.25 s before the request of line 1"),
        (OWN, {**OWN, "output_tokens": 0}, "1 to 10000000, got 0"),
        (OWN, {**OWN, "output_tokens": 1.5}, "whole number"),
        (OWN, {**OWN, "output_tokens": True}, "whole number"),
        (OWN, {**OWN, "output_tokens": 10**12}, "1 to 10000000"),
        (OWN, {"arrival_s": 1, "prompt": "a"}, '"output_tokens" is missing'),
        (OWN, {**OWN, "prompt_tokens": -3}, '"prompt_tokens" must be'),
        (OWN, {**OWN, "prompt": ""}, '"prompt" (not empty)'),
        (OWN, {**OWN, "prompt": None}, '"prompt" must be text'),
        (OWN, {**OWN, "prompt_ids": [2000]}, "says it all"),
        (OWN, {"arrival_s": 1, "prompt_ids": [-1], "output_tokens": 1}, '"prompt_ids" must be'),
        (OWN, {"arrival_s": 1, "prompt_ids": [], "output_tokens": 1}, "is empty"),
        (OWN, {**OWN, "prompt_tokens": 512, "prefix_ids": [1, 2]}, "2 blocks of 512"),
        (OWN, {**OWN, "prefix_ids": [1.5]}, "whole numbers or texts"),
        (OWN, {**OWN, "priority": "high"}, '"priority" must be'),
        (OWN, {"prompt": "a", "output_tokens": 1}, "no arrival time, but line 1 has one"),
        (MOONCAKE, {**MOONCAKE, "input_length": 0}, '"input_length" must be'),
        (MOONCAKE, {**MOONCAKE, "hash_ids": [1, 2, 3, 4]}, "names 4 blocks"),
        (MOONCAKE, {**MOONCAKE, "hash_ids": None}, "must be a list"),
        (MOONCAKE, {**MOONCAKE, "timestamp": -5}, "before the request of line 1"),
        (TALK, {"conversations": "none"}, '"conversations" must be a list'),
        (TALK, {"conversations": [3]}, "messages that are objects"),
        (TALK, {"conversations": [{"from": "human"}]}, '"value" must be text'),
        (TALK, {"id": 3}, 'expected "conversations"'),
    ],
)
def test_a_malformed_line_is_named_with_its_file_and_the_reason(
    tmp_path: Path, good: object, bad: object, reason: str
) -> None:
    second = bad if isinstance(bad, str) else json.dumps(bad)
    file = write(tmp_path, f"{json.dumps(good)}\n{second}\n{json.dumps(good)}\n")
    with pytest.raises(TraceError, match=r"t\.jsonl, line 2") as caught:
        make_workload(file)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2023-11-16 18:17:04,5", "2 values, the header has 3"),
        ("yesterday,5,6", "TIMESTAMP"),
        ("2023-11-16 18:17:04,-5,6", '"ContextTokens" must be'),
        ("2023-11-16 18:17:04,5,0", '"GeneratedTokens" must be'),
        ("2023-11-16 18:17:04,nan,6", "whole number"),
        ("2023-11-16 18:17:02,5,6", "before the request of line 2"),
    ],
)
def test_a_malformed_azure_row_is_named(tmp_path: Path, row: str, reason: str) -> None:
    head = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,5,6\n"
    with pytest.raises(TraceError, match=r"a\.csv, line 3: ") as caught:
        make_workload(write(tmp_path, f"{head}{row}\n", "a.csv"))
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[\n{"conversations": []},\n{"conversations": 7}]', "line 3 (conversation 2)"),
        ('[\n{"conversations": []}\n{"conversations": []}]', "line 3: not JSON"),
        ('[\n{"conversations": []},\n', "not JSON"),
        ('[\n{"conversations": []}] 3', "more after the list"),
        ("[\n{}, 5]", 'expected "conversations"'),
    ],
)
def test_a_malformed_list_is_named_by_line(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(TraceError) as caught:
        make_workload(write(tmp_path, text, "x.json"), fmt="sharegpt")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"\xff\xfea\x00", "line 1: not UTF-8"),
        (b"\x1f\x8bbroken", "cannot be read"),
        (gzip.compress(b"x" * 100_000)[:60], "cannot be read"),
        (b"hello\n", "line 1: like no known format: 'hello'"),
        (b'\n{"a": 1}\n', "line 2: like no known format: a JSON object with a"),
        (b'{"a": \n', "line 1: like no known format: not JSON"),
        (b"TIMESTAMP,ContextTokens,GeneratedTokens\n", "no requests to replay"),
        (json.dumps([conversation("?")]).encode(), "without an answered question, left out: 1"),
    ],
)
def test_a_file_that_cannot_be_replayed(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(TraceError) as caught:
        make_workload(write(tmp_path, content))
    assert reason in str(caught.value)
    assert "t.jsonl" in str(caught.value)


def test_the_wrong_format_and_unknown_names_list_the_right_ones(tmp_path: Path) -> None:
    file = write(tmp_path, [OWN])
    with pytest.raises(TraceError, match="azure, mooncake, sharegpt, bench-serving, sglang-log"):
        make_workload(file, fmt="csv")
    with pytest.raises(TraceError, match="no column"):
        make_workload(file, fmt="azure")
    with pytest.raises(ValueError, match=r"no workload and no file is called.*hetero"):
        make_workload(tmp_path / "missing")
    hetero = file.rename(tmp_path / "hetero")
    assert len(load(hetero)) == 1  # a path is a file, whatever its name
    with pytest.raises(ValueError, match="needs two files"):
        make_workload("chat", content=file)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_trace_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = write(tmp_path_factory.getbasetemp(), content, "fuzz")
    for fmt in (None, *FORMATS):
        try:
            records = list(open_trace(file, fmt))
        except TraceError:
            continue
        assert all(len(r.prompt.build()) >= 1 <= r.output_tokens for r in records)


# Samples


def numbered(folder: Path, n: int = 50) -> Path:
    """Requests with growing gaps, told apart by their output."""
    return write(
        folder,
        [{"arrival_s": 10 + i * i, "prompt_tokens": 5, "output_tokens": i + 1} for i in range(n)],
    )


def test_a_rate_scales_time_and_no_rate_is_all_at_once(tmp_path: Path) -> None:
    file = numbered(tmp_path, 11)
    assert make_workload(file).recorded_rate_rps == pytest.approx(11 / 100)
    assert [r.arrival_s for r in load(file)] == [float(i * i) for i in range(11)]
    doubled = load(file, rate_rps=22 / 100)
    assert [r.arrival_s for r in doubled] == pytest.approx([i * i / 2 for i in range(11)])
    at_once = make_workload(file).requests(seed=0, rate_rps=None)
    assert {r.arrival_s for r in at_once} == {0.0}


def test_another_seed_has_the_same_gaps_and_requests_in_another_order(tmp_path: Path) -> None:
    workload = make_workload(numbered(tmp_path))
    rate = workload.recorded_rate_rps
    recorded_order = list(workload.requests(seed=0, rate_rps=rate))
    sample = list(checked(workload.requests(seed=3, rate_rps=rate), "test"))
    assert sample == list(workload.requests(seed=3, rate_rps=rate))
    gaps, other = (
        [round(b.arrival_s - a.arrival_s, 6) for a, b in itertools.pairwise(requests)]
        for requests in (recorded_order, sample)
    )
    assert gaps != other
    assert sorted(gaps) == sorted(other)
    outputs = [r.output_tokens for r in sample]
    assert outputs != sorted(outputs) == [r.output_tokens for r in recorded_order]


def test_only_the_first_requests(tmp_path: Path) -> None:
    file = numbered(tmp_path)
    workload = make_workload(file, n=7)
    assert len(list(workload.requests(seed=5, rate_rps=1.0))) == 7
    assert workload.max_output_tokens == 7
    assert workload.notes == ("t.jsonl: only the first 7 requests are replayed",)
    assert not make_workload(file, n=50).notes


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none(tmp_path: Path, rate: float) -> None:
    with pytest.raises(ValueError, match="rate_rps"):
        make_workload(numbered(tmp_path)).requests(seed=0, rate_rps=rate)


def test_chat_is_turns_at_the_times_of_another_file(tmp_path: Path) -> None:
    turns = write(tmp_path, json.dumps([TALK] * 5), "turns.json")
    rows = "".join(f"2023-11-16 18:00:{s:02d},5,6\n" for s in (*range(0, 40, 4), 41, 42, 43))
    times = write(tmp_path, f"TIMESTAMP,ContextTokens,GeneratedTokens\n{rows}", "times.csv")
    workload = make_workload("chat", content=turns, arrivals=f"file:{times}")
    requests = list(checked(workload.requests(seed=0, rate_rps=1.0), "test"))
    assert [r.arrival_s for r in requests] == pytest.approx([i * 10 / 9 for i in range(10)])
    window = [r.arrival_s for r in workload.requests(seed=2, rate_rps=1.0)]  # from the second time
    assert window[8] == pytest.approx(33 * 10 / 34)
    with pytest.raises(TraceError, match="no arrival times"):
        make_workload("chat", content=turns, arrivals=f"file:{turns}")
    short = make_workload(numbered(tmp_path, 20), arrivals=f"file:{times}")
    with pytest.raises(TraceError, match="13 arrival times for 20 requests"):
        list(short.requests(seed=0, rate_rps=1.0))


def long_trace(lines: int) -> Iterator[str]:
    for i in range(lines):
        yield f'{{"arrival_s": {i}, "prompt": "{"word " * 40}{i}", "output_tokens": 9}}\n'


def test_a_long_trace_streams_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "long.jsonl"
    with file.open("w") as stream:
        stream.writelines(long_trace(8_000))
    monkeypatch.setattr(recorded, "MOST_IN_MEMORY", 5_000)
    tracemalloc.start()
    try:
        workload = make_workload(file)
        count = sum(1 for _ in workload.requests(seed=0, rate_rps=1.0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 8_000
    assert peak < 800_000 < file.stat().st_size
    with pytest.raises(TraceError, match="8000 requests are too many to shuffle"):
        workload.requests(seed=1, rate_rps=1.0)


# Token ids


@given(st.text(max_size=300), st.text(max_size=50), st.integers(1, 200))
def test_ids_share_what_texts_share(text: str, more: str, tokens: int) -> None:
    short, long = Prompt("a", pieces=(text,)).build(), Prompt("b", pieces=(text + more,)).build()
    common = len(text.encode("utf-8", "surrogatepass")) // 4
    assert shared_prefix(short, long) >= common
    sized = Prompt("a", tokens, pieces=(text,)).build()
    assert len(sized) == tokens
    assert all(FIRST_PROMPT_TOKEN <= each < LAST_PROMPT_TOKEN for each in sized)


def test_prompts_that_differ_beyond_the_cut_are_not_the_same() -> None:
    one, other = (Prompt("x", 10, pieces=("word " * 40 + end,)).build() for end in "ab")
    assert shared_prefix(one, other) == 9


def test_prompts_of_known_length_alone_are_unrelated() -> None:
    one, other = Prompt("f:1", 500).build(), Prompt("f:2", 500).build()
    assert sum(a == b for a, b in zip(one, other, strict=True)) < 5
    assert one == Prompt("f:1", 500).build()


def test_ids_are_the_same_in_every_process() -> None:
    # Written down once: a change of them would change every digest.
    built = Prompt("k", 8, pieces=("Hello, world",), blocks=("b",), block_tokens=2).build()
    assert list(built) == [33390, 11878, 78509, 91019, 39066, 56019, 83885, 10093]


# Real files


@pytest.mark.skipif(not DATA.exists(), reason="the shared data folder is not here")
@pytest.mark.parametrize(
    ("name", "fmt", "n"),
    [
        ("azure_llm_2023_code.csv.gz", "azure", 8819),
        ("mooncake_conversation.jsonl.gz", "mooncake", 12_031),
        ("sharegpt_turns_aibrix.jsonl.gz", "sharegpt", 2024),
    ],
)
def test_real_files(name: str, fmt: str, n: int) -> None:
    assert detect(DATA / name).name == fmt
    workload = RecordedWorkload(name, DATA / name)
    assert workload.summary.n == n
    some = list(itertools.islice(workload.requests(seed=1, rate_rps=2.0), 100))
    assert len(list(checked(some, name))) == 100
