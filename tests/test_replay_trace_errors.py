"""What is wrong with a trace file: every error names the file, the line and the reason."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sagesched.replay.readers import FORMATS, open_trace
from sagesched.replay.trace import TraceError
from sagesched.replay.workloads import make_workload

from .trace_files import MOONCAKE, OWN, TALK, conversation, load, write


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
        ("2023-11-16 18:17:04,5,-1", '"GeneratedTokens" must be'),
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
        (gzip.compress(b"x" * 100_000, mtime=0)[:60], "cannot be read"),
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


def check_any(file: Path) -> None:
    """In every format: records that can be replayed, or the one error that is promised."""
    for fmt in (None, *FORMATS):
        try:
            records = list(open_trace(file, fmt))
        except TraceError:
            continue
        assert all(len(r.prompt.build()) >= 1 <= r.output_tokens for r in records)


@given(st.binary(max_size=200))
@example(b"\r\x00")
def test_any_bytes_are_a_trace_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    check_any(write(tmp_path_factory.getbasetemp(), content, "fuzz"))


LINES = (
    *(json.dumps(line) for line in (OWN, MOONCAKE, TALK, [TALK])),
    json.dumps({"prompt_ids": [1, 2], "output_tokens": 2}),
    json.dumps({"input_lens": [1, 2], "output_lens": [3, 4], "request_rate": 2}),
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.97,5,6",
    (
        '{"timestamp": "2026-01-31T12:00:00", "event": "request.finished", "rid": "a", "obj": {}, '
        '"out": {"meta_info": {"prompt_tokens": 3, "completion_tokens": 4}}}'
    ),
    (
        "[2026-01-31 12:00:00] Finish: obj=Request(rid='a'), out={'meta_info': {"
        "'prompt_tokens': 3, 'completion_tokens': 4, 'finish_reason': {'type': 'stop'}}}"
    ),
)


@given(st.sampled_from(LINES), st.data())
def test_a_damaged_line_is_a_trace_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, line: str, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(line)))
    end = data.draw(st.integers(start, min(start + 12, len(line))))
    piece = data.draw(st.sampled_from(["", "null", "-1", '"', "'", "[", "}", "\n", "1e9", "\\"]))
    damaged = line[:start] + piece + line[end:]
    check_any(write(tmp_path_factory.getbasetemp(), damaged, "damaged"))
