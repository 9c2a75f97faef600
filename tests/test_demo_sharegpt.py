"""Real conversations as the demo's workload: all formats, and what is wrong with a file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bench.demo.sharegpt import Tokenizer, Turn, read_turns, share_gpt

REPOSITORY = Path(__file__).resolve().parents[1]
REAL_TURNS = REPOSITORY.parent / "shared" / "data" / "sharegpt_turns_aibrix.jsonl.gz"


def conversation(*messages: tuple[str, str]) -> dict[str, Any]:
    return {"conversations": [{"from": who, "value": text} for who, text in messages]}


TWO = [
    conversation(("human", "Why is the sky blue?"), ("gpt", "Rayleigh scattering.")),
    conversation(("system", "Be kind."), ("human", "Hello!"), ("gpt", "Hello to you.")),
]
TWO_TURNS = [Turn("Why is the sky blue?", "Rayleigh scattering."), Turn("Hello!", "Hello to you.")]


def write(folder: Path, text: str, name: str = "turns.jsonl") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tokenizer whose tokens are words, with a context of 1,000 tokens."""
    tokenizers = pytest.importorskip("tokenizers", reason="comes with SGLang")
    folder = tmp_path_factory.mktemp("model")
    words = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"word": 0, "other": 1}, unk_token="other")
    )
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    words.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 1000}))
    return Tokenizer(folder)


def test_reads_a_json_list_and_json_lines(tmp_path: Path) -> None:
    assert read_turns(write(tmp_path, json.dumps(TWO, indent=1), "list.json")) == TWO_TURNS
    lines = "\n".join(map(json.dumps, TWO)) + "\n\n"
    assert read_turns(write(tmp_path, lines)) == TWO_TURNS


def test_reads_gzip(tmp_path: Path) -> None:
    file = tmp_path / "turns.jsonl.gz"
    file.write_bytes(gzip.compress("\n".join(map(json.dumps, TWO)).encode()))
    assert read_turns(file) == TWO_TURNS


def test_reads_prompts_with_lengths_and_leaves_out_empty_ones(tmp_path: Path) -> None:
    rows = [("a", 5), ("  ", 7), ("b", 0), ("c", None)]
    lines = "\n".join(json.dumps({"prompt": p, "output_tokens": n}) for p, n in rows)
    assert read_turns(write(tmp_path, lines)) == [Turn("a", 5)]


def test_takes_the_first_answered_question_and_leaves_out_a_conversation_without_one(
    tmp_path: Path,
) -> None:
    records = [
        conversation(("gpt", "Before"), ("human", "First?"), ("gpt", "Yes."), ("human", "2")),
        conversation(("human", "Nobody there?")),
        {"conversations": []},
    ]  # fmt: skip
    assert read_turns(write(tmp_path, json.dumps(records))) == [Turn("First?", "Yes.")]


def test_a_line_separator_inside_a_text_does_not_end_the_line(tmp_path: Path) -> None:
    line = json.dumps({"prompt": "one\u2028two", "output_tokens": 3}, ensure_ascii=False)
    assert read_turns(write(tmp_path, line)) == [Turn("one\u2028two", 3)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"prompt": "a", ', "not JSON"),
        ("[1, 2]", "expected an object"),
        ('"text"', "expected an object, got str"),
        ("{}", 'expected "conversations"'),
        ('{"prompt": 3, "output_tokens": 4}', '"prompt" must be text'),
        ('{"prompt": "a", "output_tokens": "4"}', "whole number"),
        ('{"prompt": "a", "output_tokens": true}', "whole number"),
        ('{"prompt": "a", "output_tokens": -1}', "whole number"),
        ('{"conversations": "none"}', "must be a list"),
        ('{"conversations": [{"from": "human"}]}', '"from" and "value"'),
        ('{"conversations": [3]}', '"from" and "value"'),
    ],
)
def test_a_malformed_line_is_named_with_its_file_and_the_reason(
    tmp_path: Path, line: str, reason: str
) -> None:
    good = '{"prompt": "a", "output_tokens": 5}'
    file = write(tmp_path, f"{good}\n{line}\n{good}\n")
    with pytest.raises(ValueError, match=r"turns\.jsonl, line 2: ") as caught:
        read_turns(file)
    assert reason in str(caught.value)


def test_a_malformed_conversation_of_a_list_is_named_by_its_place(tmp_path: Path) -> None:
    file = write(tmp_path, json.dumps([TWO[0], {"conversations": 1}]), "list.json")
    with pytest.raises(ValueError, match=r"list\.json, conversation 2: .*must be a list"):
        read_turns(file)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\x1f\x8b\x08broken"])
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / ("x.gz" if content.startswith(b"\x1f") else "x.json")
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{file.name}: cannot be read"):
        read_turns(file)


def test_a_workload_counts_real_answers_and_cuts_prompts(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    long_prompt, long_answer = "word " * 5000, "word " * 900
    records = [
        conversation(("human", long_prompt), ("gpt", "word word word")),
        conversation(("human", "word"), ("gpt", long_answer)),
    ]
    file = write(tmp_path, json.dumps(records))
    workload = share_gpt(file, tokenizer, seed=0, learn=0, requests=2)
    assert sorted(r.output_tokens for r in workload.timed) == [3, 250]  # a quarter of the context
    for request in workload.timed:
        assert tokenizer.count(request.text) + workload.max_new_tokens <= tokenizer.context


def test_learned_and_timed_conversations_are_different_ones(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    lines = "\n".join(json.dumps({"prompt": f"p{i}", "output_tokens": i}) for i in range(1, 51))
    file = write(tmp_path, lines)
    workload = share_gpt(file, tokenizer, seed=2, learn=20, requests=30)
    assert len({r.text for r in (*workload.learning, *workload.timed)}) == 50
    assert not any(r.seen for r in workload.timed)
    assert workload == share_gpt(file, tokenizer, seed=2, learn=20, requests=30)


def test_too_few_conversations_is_an_error_that_says_what_to_change(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    file = write(tmp_path, json.dumps(TWO))
    with pytest.raises(ValueError, match=r"2 usable conversations.*lower --learn or --requests"):
        share_gpt(file, tokenizer, seed=0, learn=2, requests=1)


@pytest.mark.skipif(not REAL_TURNS.exists(), reason=f"no {REAL_TURNS.name} in ../shared/data")
def test_reads_a_file_of_real_turns() -> None:
    turns = read_turns(REAL_TURNS)
    assert len(turns) > 1900
    assert all(isinstance(t.answer, int) and t.answer >= 1 for t in turns)
