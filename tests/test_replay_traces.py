"""Trace files in every format but SGLang's log: what becomes of what is in them."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from sagesched.replay.readers import detect
from sagesched.replay.trace import FIRST_PROMPT_TOKEN, LAST_PROMPT_TOKEN, TraceError
from sagesched.replay.workloads import make_workload

from .trace_files import MOONCAKE, OWN, TALK, conversation, load, shared_prefix, write


def test_azure_rows_without_output_are_counted(tmp_path: Path) -> None:
    rows = ["TIMESTAMP,ContextTokens,GeneratedTokens", "2023-11-16 18:17:03,5,0"]
    rows += ["2023-11-16 18:17:03,5,7", "2023-11-16 18:17:04,5,0"]
    file = write(tmp_path, "\n".join(rows).encode(), "azure.csv")
    workload = make_workload(file)
    assert [r.output_tokens for r in workload.requests(seed=0, rate_rps=None)] == [7]
    assert "requests without output, left out: 2" in workload.notes[0]


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
        "t.jsonl: the trace has one arrival time for all: they are drawn, Poisson",
        "t.jsonl: outputs cut to 100 tokens: 1",
    )
