"""``sagesched evaluate --history``: the same scores as from the prompts themselves."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sagesched.cli import main
from sagesched.lengths import LengthGrid
from sagesched.predict import LengthPredictor, make_embedder
from sagesched.predict.store.opening import open_history
from sagesched.predict.store.record import Record, Space

TEXTS = ("Write a long essay about the sea", "Capital of France", "List five tips for sleep")
PREDICTOR = LengthPredictor(make_embedder("hashed"), LengthGrid(8))
SPACE = Space("hashed", PREDICTOR.dim)


def prompts(n: int) -> list[tuple[str, int, str]]:
    return [(f"{TEXTS[i % 3]}, {i % 5}", 10 * 5 ** (i % 3) + i % 7, "ab"[i % 2]) for i in range(n)]


def records(n: int) -> list[Record]:
    return [
        Record(PREDICTOR.embed([text])[0], tokens, True, group, f"tenant {group}")
        for text, tokens, group in prompts(n)
    ]


def history(folder: Path, space: Space, kept: list[Record]) -> Path:
    file = folder / "history.db"
    opened = open_history(file)
    opened.append(opened.space_id(space), 1, kept)
    opened.close()
    return file


def evaluated(*flags: str, out: Path) -> Any:
    command = ["evaluate", "--methods", "sagesched,published,global", "--json", str(out)]
    assert main([*command, *flags]) == 0
    return json.loads(out.read_text())


def error(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    assert main(["evaluate", *flags]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("sagesched evaluate: error: ")
    return captured.err


def test_a_history_scores_like_its_prompts(tmp_path: Path) -> None:
    rows = [
        {"prompt": text, "output_tokens": tokens, "group": group, "tenant": f"tenant {group}"}
        for text, tokens, group in prompts(120)
    ]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = history(tmp_path, SPACE, records(120))
    before = file.read_bytes()
    out = tmp_path / "out.json"
    of_data = evaluated("--data", str(data), "--embedder", "hashed", out=out)
    of_history = evaluated("--history", str(file), out=out)
    assert of_history["methods"] == of_data["methods"]
    assert of_history["about"]["embedder"] == "hashed"
    assert file.read_bytes() == before


def test_unfinished_and_damaged_records(tmp_path: Path) -> None:
    kept = records(60)
    kept.append(Record(kept[0].vector, 5, False))
    kept.append(Record(kept[0].vector[:7], 5, True))
    kept.append(Record(np.full_like(kept[0].vector, np.nan), 5, True))
    file = history(tmp_path, SPACE, kept)
    found = evaluated("--history", str(file), out=tmp_path / "out.json")
    assert found["methods"]["sagesched"]["n"] == 61
    assert any("not scored: 1" in note for note in found["notes"])
    assert "damaged records, left out: 1" in found["notes"]


def test_the_embedder_with_most_records_unless_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = history(tmp_path, SPACE, records(30))
    history(tmp_path, Space("other", PREDICTOR.dim), records(20))
    out = tmp_path / "out.json"
    assert evaluated("--history", str(file), out=out)["about"]["embedder"] == "hashed"
    found = evaluated("--history", str(file), "--embedder", "other", "--limit", "10", out=out)
    assert found["methods"]["sagesched"]["n"] == 10
    assert "records of other embedders than other, left out: 30" in found["notes"]
    capsys.readouterr()
    said = error(capsys, "--history", str(file), "--embedder", "wordllama")
    assert "30 of hashed" in said


def test_files_that_are_no_histories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    none = tmp_path / "none.db"
    assert "No such file" in error(capsys, "--history", str(none))
    assert not none.exists()
    none.write_text("hello" * 1000)
    assert "not a SQLite file" in error(capsys, "--history", str(none))
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE t(x)")
    connection.close()
    assert "another program" in error(capsys, "--history", str(foreign))
    empty = history(tmp_path, SPACE, [])
    assert "no records" in error(capsys, "--history", str(empty))


def test_old_features_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = history(tmp_path, Space("hashed", PREDICTOR.dim, features=0), records(5))
    assert "5 of hashed" in error(capsys, "--history", str(file))
