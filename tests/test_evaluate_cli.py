"""``sagesched evaluate`` on small real files, and what it says of bad ones."""

from __future__ import annotations

import argparse
import gzip
import io
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from sagesched.cli import main
from sagesched.evaluate import cli
from sagesched.evaluate.methods import METHODS
from sagesched.evaluate.rows import EXAMPLE, rows_of

TEXTS = ("Write a long essay about the sea", "Capital of France", "List five tips for sleep")
DOCS = Path(__file__).resolve().parents[1] / "docs"
FAST = ("--embedder", "hashed", "--methods", "sagesched,global")


def lines_file(folder: Path, rows: Iterable[Any], name: str = "data.jsonl") -> Path:
    text = "".join(row + "\n" if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)
    file = folder / name
    if name.endswith(".gz"):
        file.write_bytes(gzip.compress(text.encode()))
    else:
        file.write_text(text)
    return file


def turns(n: int = 150) -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"{TEXTS[i % 3]}, number {i % 5}?",
            "output_tokens": 10 * 5 ** (i % 3) + i % 7,
            "model": ("small", "large")[i % 2],
            "tenant": ("x", "y", "z")[i % 3],
            "arrival_s": i / 10,
            "latency_s": 0.25,
        }
        for i in range(n)
    ]


def document(file: Path, *flags: str) -> Any:
    out = file.with_name("out.json")
    assert main(["evaluate", "--data", str(file), *FAST, "--json", str(out), *flags]) == 0
    return json.loads(out.read_text())


def error(capsys: pytest.CaptureFixture[str], file: Path, *flags: str) -> str:
    assert main(["evaluate", "--data", str(file), *FAST, *flags]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("sagesched evaluate: error: ")
    return captured.err


def test_table_json_markdown_and_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    file = lines_file(tmp_path, turns(), "turns.jsonl.gz")
    outputs = {name: tmp_path / f"out.{name}" for name in ("json", "markdown", "png")}
    command = ["evaluate", "--data", str(file), "--embedder", "hashed"]
    command += ["--json", str(outputs["json"]), "--markdown", str(outputs["markdown"])]
    assert main([*command, "--plot", str(outputs["png"])]) == 0
    shown = capsys.readouterr().out
    assert shown == outputs["markdown"].read_text()
    for heading in ("| method | CRPS |", "## By group", "## By tenant", "## Over time"):
        assert heading in shown
    assert "learned 2.0 requests after the next one" in shown
    assert outputs["png"].read_bytes().startswith(b"\x89PNG")
    found = json.loads(outputs["json"].read_text())
    assert list(found["methods"]) == list(METHODS) == list(cli.METHOD_NAMES)
    ours = found["methods"]["sagesched"]
    assert {"crps", "pinball50", "pinball90", "tau", "coverage90", "n"} <= ours.keys()
    assert ours["n"] == 150
    assert sum(ours["pit"]) == pytest.approx(len(ours["pit"]))
    assert {name: part["n"] for name, part in ours["by_group"].items()} == {
        "small": 75,
        "large": 75,
    }
    assert ours["by_tenant"].keys() == {"x", "y", "z"}
    assert [window["n"] for window in ours["windows"]] == [50, 50, 50]
    assert ours["crps"] < found["methods"]["global"]["crps"]
    assert "essay" not in outputs["json"].read_text() + shown


def test_the_same_file_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    file, outputs = lines_file(tmp_path, turns()), []
    for name in ("first", "second"):
        plot, figures = tmp_path / f"{name}.png", tmp_path / f"{name}.json"
        flags = ["--plot", str(plot), "--json", str(figures)]
        assert main(["evaluate", "--data", str(file), *FAST, *flags]) == 0
        outputs.append((capsys.readouterr().out, plot.read_bytes(), figures.read_text()))
    assert outputs[0] == outputs[1]


def test_a_file_out_of_order_is_sorted(tmp_path: Path) -> None:
    rows = turns()
    straight = document(lines_file(tmp_path, rows, "a.jsonl"))
    back = document(lines_file(tmp_path, rows[::-1], "b.jsonl"))
    assert straight["methods"] == back["methods"]


def test_limit_warmup_and_lag(tmp_path: Path) -> None:
    file = lines_file(tmp_path, turns())
    found = document(file, "--limit", "100", "--warmup", "40", "--lag", "7")
    assert found["methods"]["sagesched"]["n"] == 60
    assert found["methods"]["sagesched"]["windows"][0]["first"] == 0
    assert any("6.7 requests after" in note for note in found["notes"])


def test_answers_of_several_models_and_several_draws(tmp_path: Path) -> None:
    models = [{"prompt": text, "output_tokens": {"a": 10, "b": 90, "c": None}} for text in TEXTS]
    found = document(lines_file(tmp_path, models * 20))
    assert {k: v["n"] for k, v in found["methods"]["global"]["by_group"].items()} == {
        "a": 60,
        "b": 60,
    }
    draws = [{"prompt_id": i, "output_tokens": [10 + i, 20 + i, 0]} for i in range(20)]
    found = document(lines_file(tmp_path, draws))
    assert found["methods"]["global"]["n"] == 40
    assert any("shuffled" in note for note in found["notes"])


def test_limits_and_cut_off_outputs(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "a", "output_tokens": 5, "max_new_tokens": 5},
        {"prompt": "b", "output_tokens": 7, "finished": False},
        {"prompt": "c", "output_tokens": 9},
    ]
    found = document(lines_file(tmp_path, rows), "--context-length", "8")
    assert found["methods"]["sagesched"]["n"] == 2
    notes = " ".join(found["notes"])
    assert "not scored: 1" in notes
    assert "stopped at their own limit, to which all predictions are cut: 1" in notes
    assert "counted as 8: 1" in notes


LOG = (
    '{{"timestamp": "2026-01-31T12:00:{s:02d}", "event": "request.finished", "rid": "r{i}", '
    '"obj": {{"rid": "r{i}", "text": "{text}"}}, "out": {{"meta_info": {{"id": "r{i}", '
    '"finish_reason": {{"type": "{why}"}}, "prompt_tokens": 5, "completion_tokens": {n}, '
    '"e2e_latency": 2.5}}}}}}'
)


def test_an_sglang_log(tmp_path: Path) -> None:
    rows = ["[2026-01-31 12:00:00] The server is fired up"]
    rows += [LOG.format(s=i, i=i, text=TEXTS[i % 3], why="stop", n=9 + i) for i in range(30)]
    rows += [LOG.format(s=31, i=31, text="Hello", why="abort", n=4)]
    rows += [LOG.format(s=32, i=32, text="", why="stop", n=4)]
    found = document(lines_file(tmp_path, rows, "server.log"))
    assert found["methods"]["sagesched"]["n"] == 30
    notes = " ".join(found["notes"])
    assert "without a prompt's text, left out: 1" in notes
    assert "not scored: 1" in notes
    assert "learned 1." in notes  # a second between two arrivals, two and a half to an end


def test_conversations(tmp_path: Path) -> None:
    conversation = {
        "conversations": [
            {"from": "human", "value": "Why?"},
            {"from": "gpt", "value": "Because of this and that."},
        ]
    }
    assert document(lines_file(tmp_path, [conversation] * 3))["methods"]["global"]["n"] == 3


GOOD = {"prompt": "Hello", "output_tokens": 3}
TWO_ROWS = "".join(json.dumps(row) + "\n" for row in ({**GOOD, "arrival_s": 1}, GOOD))


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ('{"prompt": "x", "output_tokens": NaN}', "NaN is no number"),
        ('{"prompt": "x", "output_tokens": 1e400}', "must be a whole number"),
        ('{"prompt": "x", "output_tokens": -4}', "must be 0 to 10000000, got -4"),
        ('{"prompt": "x", "output_tokens": 99999999999}', "must be 0 to 10000000"),
        ('{"prompt": "x", "output_tokens": 2.5}', "must be a whole number"),
        ('{"prompt": "x", "output_tokens": true}', "must be a whole number"),
        ('{"prompt": "x", "output_tokens": [3, -1]}', "got -1"),
        ('{"prompt": 5, "output_tokens": 3}', '"prompt" must be text'),
        ('{"prompt": "x"}', '"output_tokens" is missing'),
        ('{"output_tokens": 5}', '"prompt" is missing'),
        ('{"prompt": "x", "output_tokens": 9, "max_new_tokens": 5}', "more than"),
        ('{"prompt": "x", "output_tokens": 9, "finished": 1}', "true or false"),
        ('{"prompt": "x", "output_tokens": 9, "arrival_s": 5, "finish_s": 4}', "before it arrives"),
        ('{"prompt": "x", "output_tokens": 9, "temperature": "hot"}', "must be a number"),
        ('{"prompt": "x", "output', "not JSON"),
        ("[1, 2]", "expected a JSON object"),
    ],
)
def test_a_bad_line_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: str, why: str
) -> None:
    file = lines_file(tmp_path, [GOOD, "", row, GOOD])
    said = error(capsys, file)
    assert f"{file}, line 3: " in said
    assert why in said
    assert cli_example() in said
    found = document(file, "--skip-bad")
    assert found["methods"]["global"]["n"] == 2
    assert any("bad lines, left out: 1 (lines 3)" in note for note in found["notes"])


def test_a_line_that_is_not_utf8_is_a_bad_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "data.jsonl"
    good = (json.dumps(GOOD) if not isinstance(GOOD, str) else GOOD).encode()
    file.write_bytes(b"\n".join([good, b'{"prompt": "\xff"}', good]))
    assert "line 2: not UTF-8" in error(capsys, file)
    found = document(file, "--skip-bad")
    assert any("bad lines, left out: 1 (lines 2)" in note for note in found["notes"])


@pytest.mark.parametrize("layout", ["lines", "list"])
def test_bad_conversations_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str
) -> None:
    said = [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Good morning!"}]
    rows = [json.dumps({"conversations": each}) for each in (said, "no list", said)]
    text = "\n".join(rows) if layout == "lines" else "[" + ",\n".join(rows) + "]"
    file = tmp_path / "conversations.json"
    file.write_text(text)
    bad = error(capsys, file)
    assert "line 2" in bad
    assert "--skip-bad" in bad
    found = document(file, "--skip-bad")
    assert found["methods"]["global"]["n"] == 2
    assert any("bad lines, left out: 1 (lines 2)" in note for note in found["notes"])


def test_bad_lines_of_a_log_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = [LOG.format(s=i, i=i, text="Hello", why="stop", n=9) for i in range(3)]
    file = lines_file(tmp_path, [log[0], log[1].partition('"out"')[0], log[2]])
    assert "--skip-bad" in error(capsys, file)
    found = document(file, "--skip-bad")
    assert found["methods"]["global"]["n"] == 2
    assert any("bad lines, left out: 1 (lines 2)" in note for note in found["notes"])


def test_a_model_may_have_any_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = '{"prompt": "a", "output_tokens": {"\\ud800": 5, "x\\n\\u001b[2J": 6}}'
    found = document(lines_file(tmp_path, [row, row]))
    assert set(found["methods"]["global"]["by_group"]) == {"?", "x\n\x1b[2J"}
    shown = capsys.readouterr().out
    assert "| ? |" in shown
    assert r"x \x1b[2J" in shown
    assert "\x1b" not in shown


def test_what_the_terminal_cannot_show_becomes_a_question_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = lines_file(
        tmp_path, [{**turn, "model": "é" * (i % 2)} for i, turn in enumerate(turns(9))]
    )
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", output)
    assert main(["evaluate", "--data", str(file), *FAST]) == 0
    assert b"| ? |" in output.buffer.getvalue()  # type: ignore[attr-defined]


def test_outputs_never_replace_the_data_or_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = lines_file(tmp_path, turns(9))
    before, link = file.read_bytes(), tmp_path / "link"
    link.hardlink_to(file)
    out = str(tmp_path / "out")
    for flags in (
        ("--json", str(file)),
        ("--markdown", str(tmp_path / ".." / tmp_path.name / file.name)),
        ("--json", str(link)),
        ("--json", out, "--markdown", out),
    ):
        assert "name another file" in error(capsys, file, *flags)
    assert file.read_bytes() == before
    assert not Path(out).exists()


def test_what_fails_leaves_no_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, kept = tmp_path / "out.json", tmp_path / "kept.md"
    kept.write_text("kept")
    flags = ("--json", str(out), "--markdown", str(kept))
    error(capsys, lines_file(tmp_path, ["{}"]), *flags)
    assert not out.exists()
    assert kept.read_text() == "kept"


def cli_example() -> str:
    assert len(list(rows_of(json.loads(EXAMPLE)))) == 1
    return EXAMPLE


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("hello\n", "like no known format"),
        ('{"text": "Hello", "length": 4}\n', "a JSON object with text, length"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,5,6\n", "has no prompts"),
        ('{"prompt_tokens": 5, "output_tokens": 6}\n', '"prompt" is missing'),
        ('{"prompt": "", "output_tokens": 6}\n', "without a prompt's text, left out: 1"),
        ('{"prompt": "x", "output_tokens": null}\n', "without an output length, left out: 1"),
        (TWO_ROWS, "1 of 2 requests have no arrival time"),
    ],
)
def test_unusable_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, why: str
) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text(text)
    assert why in error(capsys, file)


def test_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "No such file" in error(capsys, tmp_path / "none.jsonl")


def test_nothing_left_to_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--warmup 5" in error(capsys, lines_file(tmp_path, [GOOD]), "--warmup", "5")


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--methods", "global,psychic"], "unknown method 'psychic'; choose of: sagesched"),
        (["--limit", "0"], "'0' is not a whole number from 1 up"),
        (["--lag", "-1"], "not a whole number"),
        (["--context-length", "1e9"], "from 1 to 10000000"),
        (["--history", "h.db"], "not allowed with"),
    ],
)
def test_bad_flags(capsys: pytest.CaptureFixture[str], flags: list[str], why: str) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--data", "x", *flags])
    assert why in capsys.readouterr().err


def test_output_files_are_checked_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = lines_file(tmp_path, [GOOD])
    assert "No such file" in error(capsys, file, "--json", str(tmp_path / "no" / "x.json"))
    assert "must end in .png, .svg or .pdf" in error(capsys, file, "--plot", "x.doc")
    assert "choose one of: auto" in error(capsys, file, "--embedder", "magic")


def test_without_matplotlib(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    said = error(capsys, lines_file(tmp_path, [GOOD]), "--plot", "x.png")
    assert "pip install matplotlib" in said


def test_without_scikit_learn_the_trees_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*arguments: object) -> None:
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")

    monkeypatch.setitem(METHODS, "gbm", missing)  # type: ignore[arg-type]
    found = document(lines_file(tmp_path, turns()), "--methods", "global,gbm")
    assert list(found["methods"]) == ["global"]
    assert "gbm left out: it needs scikit-learn (pip install scikit-learn)" in found["notes"]
    capsys.readouterr()
    assert "needs scikit-learn" in error(capsys, lines_file(tmp_path, turns()), "--methods", "gbm")


def test_interrupted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sagesched.evaluate.run.read_rows", stop)
    assert main(["evaluate", "--data", str(lines_file(tmp_path, [GOOD]))]) == cli.INTERRUPTED
    assert capsys.readouterr().err == "sagesched evaluate: interrupted\n"


def test_the_documentation_is_right() -> None:
    page = DOCS / "evaluate.md"
    text = page.read_text()
    examples = text.split("```json\n")[1].split("```")[0].splitlines()
    assert [len(list(rows_of(json.loads(line)))) for line in examples] == [1, 1]
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / link).exists(), link
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    known = {*parser.format_help().replace(",", " ").split(), "--log-requests"}
    for flag in re.findall(r"`(--[a-z-]+)", text):
        assert flag in known, flag
