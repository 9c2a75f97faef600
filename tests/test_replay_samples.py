"""Samples of a trace by seed and rate, and the token ids of its prompts."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagesched.replay import recorded
from sagesched.replay.prompts import Prompt
from sagesched.replay.readers import detect
from sagesched.replay.recorded import RecordedWorkload
from sagesched.replay.trace import (
    FIRST_PROMPT_TOKEN,
    LAST_PROMPT_TOKEN,
    TraceError,
    checked,
)
from sagesched.replay.workloads import make_workload

from .trace_files import TALK, load, shared_prefix, write

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


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
