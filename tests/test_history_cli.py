"""``sagesched history``: what it prints, writes, takes in, deletes, and says when it cannot."""

from __future__ import annotations

import gzip
import io
import json
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sagesched.cli import main
from sagesched.history.lines import parse
from sagesched.predict.about import About
from sagesched.predict.features import FORMAT

from .history_files import count, open_service, predictions, rows, teach, wait_until
from .prediction import settled

Output = pytest.CaptureFixture[str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A history of 8 + 4 records of two groups, without prompts."""
    path = tmp_path / "history.db"
    service = open_service(path)
    teach(service, range(8), About("model-a", "acme"))
    teach(service, range(8, 12), About("model-b"))
    service.close()
    return path


def history(*arguments: str | Path) -> int:
    return main(["history", *map(str, arguments)])


def test_info(path: Path, capsys: Output) -> None:
    assert history("info", "--file", path) == 0
    printed = capsys.readouterr().out
    for words in ("12, from 20", "text of 0 records", "hashed, ", "model-a: 8", "(none): 4"):
        assert words in printed
    assert history("info", "--file", path, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["records"], found["groups"]) == (12, {"model-a": 8, "model-b": 4})
    assert found["tenants"] == {"acme": 8, "": 4}
    assert abs(found["last"] - time.time()) < 120


def test_the_variable_names_the_file(
    path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGESCHED_HISTORY_FILE", str(path))
    assert history("info") == 0
    monkeypatch.delenv("SAGESCHED_HISTORY_FILE")
    with pytest.raises(SystemExit) as ended:
        history("info")
    assert ended.value.code == 2
    assert "--file" in capsys.readouterr().err


def test_export_and_import_give_the_same_predictions(
    path: Path, tmp_path: Path, capsys: Output
) -> None:
    lines, copy = tmp_path / "lines.jsonl", tmp_path / "copy.db"
    assert history("export", "--file", path, "--vectors", "--output", lines) == 0
    assert stat.S_IMODE(lines.stat().st_mode) == 0o600
    assert history("import", "--file", copy, lines, "--strict") == 0
    assert "12 records imported, 0 bad lines" in capsys.readouterr().err
    every = 'SELECT time, "group", tenant, output_tokens, finished, vector FROM records'
    assert rows(path, every) == rows(copy, every)
    one, other = open_service(path), open_service(copy)
    for old, new in zip(predictions(one), predictions(other), strict=True):
        np.testing.assert_array_equal(old, new)
    one.close()
    other.close()


def test_export_says_what_cannot_be_imported_again(path: Path, capsys: Output) -> None:
    assert history("export", "--file", path) == 0
    printed = capsys.readouterr()
    first = json.loads(printed.out.splitlines()[0])
    assert (first["output_tokens"], first["finished"], first["group"]) == (900, False, "model-a")
    assert "prompt" not in first
    assert "vector" not in first
    assert "12 of them have no prompt's text: --vectors" in printed.err


def test_export_replaces_no_file(path: Path, capsys: Output) -> None:
    before = path.read_bytes()
    assert history("export", "--file", path, "--output", path) == 1
    assert "exists already" in capsys.readouterr().err
    assert path.read_bytes() == before


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join(f"{x if isinstance(x, str) else json.dumps(x)}\n" for x in lines))
    return path


def test_import_embeds_prompts_as_a_server_does(path: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.db"
    lines = [{"prompt": f"say hi to {n}", "output_tokens": 10 + n % 5, "time": 5} for n in (1, 3)]
    data = write(tmp_path / "data.jsonl", *lines, {**lines[0], "group": "g", "finished": False})
    assert history("import", "--file", new, data, "--embedder", "hashed") == 0
    vectors = "SELECT vector FROM records WHERE output_tokens = 11 LIMIT 1"
    assert rows(new, vectors) == rows(path, vectors)
    found = rows(new, 'SELECT time, "group", finished, text FROM records')
    assert found == [(5.0, "", 1, None), (5.0, "", 1, None), (5.0, "g", 0, None)]


def test_import_of_gzip_with_prompts_stored_and_export_of_them(
    tmp_path: Path, capsys: Output
) -> None:
    data, new = tmp_path / "data.jsonl.gz", tmp_path / "new.db"
    data.write_bytes(gzip.compress(b'{"prompt": "caf\\u00e9 \\ud800", "output_tokens": 3}\n'))
    arguments = ("import", "--file", new, data, "--embedder", "hashed", "--store-prompts")
    assert history(*arguments) == 0
    capsys.readouterr()
    assert history("export", "--file", new) == 0
    assert json.loads(capsys.readouterr().out)["prompt"] == "café ?"


GOOD = {"prompt": "a", "output_tokens": 3}
BAD: list[tuple[Any, str]] = [
    ("{", "not JSON"),
    ("[" * 100_000, "recursion"),
    ([1], "expected a JSON object, got a list"),
    ({"prompt": "a"}, '"output_tokens" is missing'),
    ({"output_tokens": 3}, 'neither "prompt" nor "vector"'),
    ({**GOOD, "output_tokens": -1}, "must be 0 to"),
    ({**GOOD, "output_tokens": 2.5}, "whole number"),
    ({**GOOD, "output_tokens": 10**40}, "must be 0 to"),
    ({**GOOD, "output_tokens": 0, "finished": False}, "tells nothing"),
    ({**GOOD, "finished": "yes"}, '"finished" must be true or false'),
    ({**GOOD, "prompt": 7}, '"prompt" must be text'),
    ({**GOOD, "tenant": 7}, '"tenant" must be text'),
    ({**GOOD, "time": "now"}, '"time" must be a number'),
    ({**GOOD, "vector": "AAAA", "dim": 1, "embedder": "x", "features": 1}, "has 3 bytes"),
    ({**GOOD, "vector": "!", "dim": 1, "embedder": "x", "features": 1}, "base64"),
    ({**GOOD, "vector": "AADAfw==", "dim": 1, "embedder": "x", "features": 1}, "finite"),
    ({**GOOD, "vector": "AAAAAA=="}, '"dim" is missing'),
]


@pytest.mark.parametrize(("line", "words"), BAD, ids=[words for _, words in BAD])
def test_bad_lines_are_refused_with_a_reason(line: object, words: str) -> None:
    with pytest.raises((ValueError, RecursionError), match=words):
        parse(line if isinstance(line, str) else json.dumps(line))


def test_bad_lines_are_named_and_left_out(tmp_path: Path, capsys: Output) -> None:
    new = tmp_path / "new.db"
    data = write(tmp_path / "data.jsonl", GOOD, *(line for line, _ in BAD), "", GOOD)
    assert history("import", "--file", new, data, "--embedder", "hashed") == 0
    printed = capsys.readouterr().err
    assert "line 2: not JSON" in printed
    assert 'line 5: "output_tokens" is missing' in printed
    assert "further bad lines are only counted" in printed
    assert f"2 records imported, {len(BAD)} bad lines left out" in printed
    assert count(new) == 2


def test_strict_imports_all_or_nothing(tmp_path: Path, capsys: Output) -> None:
    new = tmp_path / "new.db"
    data = write(tmp_path / "data.jsonl", *[GOOD] * 600, "{")
    assert history("import", "--file", new, data, "--embedder", "hashed", "--strict") == 1
    assert "1 bad lines in" in capsys.readouterr().err
    assert not new.exists()


def test_only_bad_lines_are_a_failure(tmp_path: Path, capsys: Output) -> None:
    assert history("import", "--file", tmp_path / "new.db", write(tmp_path / "x", "{")) == 1
    assert "0 records imported, 1 bad lines" in capsys.readouterr().err


def test_a_running_server_learns_what_is_imported(path: Path, tmp_path: Path) -> None:
    service = open_service(path)
    data = write(tmp_path / "data.jsonl", *[GOOD] * 20)
    assert history("import", "--file", path, data, "--embedder", "hashed") == 0
    settled(service, lambda stats: stats.history_shared == 20)
    service.close()


@pytest.mark.parametrize(
    ("conditions", "left"),
    [
        (("--keep", "5"), 5),
        (("--keep", "0"), 0),
        (("--keep", "99"), 12),
        (("--group", "model-a"), 4),
        (("--tenant", ""), 8),
        (("--tenant", "nobody"), 12),
        (("--group", "model-a", "--keep", "3"), 7),
        (("--older-than", "1h"), 6),
        (("--older-than", "30d"), 9),
        (("--older-than", "1h", "--keep", "8"), 8),
    ],
)
def test_prune(path: Path, capsys: Output, conditions: tuple[str, ...], left: int) -> None:
    rows(path, "SELECT 1")
    import sqlite3

    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE records SET time = time - 7200 WHERE seq <= 6")
        connection.execute("UPDATE records SET time = time - 40 * 86400 WHERE seq <= 3")
    connection.close()
    assert history("prune", "--file", path, *conditions, "--dry-run") == 0
    assert f"{12 - left} records would be deleted" in capsys.readouterr().err
    assert count(path) == 12
    assert history("prune", "--file", path, *conditions) == 0
    assert f"{12 - left} records deleted" in capsys.readouterr().err
    assert count(path) == left
    newest = [seq for (seq,) in rows(path, "SELECT seq FROM records ORDER BY seq DESC LIMIT 2")]
    assert newest in ([], [12, 11], [8, 7])


def test_what_is_pruned_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    service = open_service(path, store_text=True)
    teach(service, range(40))
    service.close()
    assert b"write an essay on 30" in path.read_bytes()
    before = path.stat().st_size
    assert history("prune", "--file", path, "--keep", "1") == 0
    assert path.stat().st_size < before
    assert all(b"essay on" not in file.read_bytes() for file in tmp_path.iterdir())


def test_prune_beside_a_running_server(path: Path, capsys: Output) -> None:
    service = open_service(path)
    assert history("prune", "--file", path, "--keep", "4") == 0
    teach(service, range(3))
    wait_until(lambda: service.snapshot().history_saved == 3)
    service.close()
    assert count(path) == 7
    assert service.snapshot().history_failures == 0


def test_errors_are_words_and_an_exit_status(tmp_path: Path, capsys: Output) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"garbage " * 99)
    missing = tmp_path / "missing.db"
    data = write(tmp_path / "data.jsonl", GOOD)
    for arguments, words in (
        (("info", "--file", missing), "no such file"),
        (("info", "--file", garbage), "not a SQLite file; it was left as it is"),
        (("import", "--file", garbage, data), "it was left as it is"),
        (("info", "--file", tmp_path), "not a regular file"),
        (("prune", "--file", missing, "--keep", "1"), "no such file"),
        (("prune", "--file", missing), "say which"),
        (("import", "--file", missing, "absent.jsonl"), "absent.jsonl"),
        (("import", "--file", missing, data, "--embedder", "oracle"), "unknown embedder 'oracle'"),
        (("import", "--file", missing, "-", "--strict"), "not standard input"),
        (("import", "--file", tmp_path / "no" / "x.db", data), "No such file"),
    ):
        assert history(*arguments) == 1, arguments
        printed = capsys.readouterr().err
        assert words in printed
        assert "Traceback" not in printed
    assert garbage.read_bytes() == b"garbage " * 99


@pytest.mark.parametrize(
    "arguments", [("--older-than", "30"), ("--keep", "-1"), ("--keep", "many"), ("--what",)]
)
def test_bad_usage(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        history("prune", "--file", tmp_path / "x", *arguments)
    assert ended.value.code == 2


def test_standard_input_and_output(
    path: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert history("export", "--file", path, "--vectors") == 0
    exported = capsys.readouterr().out.encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(exported)))
    assert history("import", "--file", tmp_path / "copy.db", "-") == 0
    assert count(tmp_path / "copy.db") == 12
    assert rows(tmp_path / "copy.db", "SELECT features FROM spaces") == [(FORMAT,)]


def test_help_loads_nothing_heavy_and_head_may_stop_reading(path: Path) -> None:
    code = (
        "import sys; from sagesched.cli import main\n"
        "try: main(['history', 'prune', '--help'])\n"
        "except SystemExit: print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "older-than" in done.stdout
    assert not {"sqlite3", "wordllama", "faiss"} & set(done.stdout.splitlines()[-1].split())
    command = f"{sys.executable} -m sagesched.cli history export --file {path} --vectors | head -1"
    piped = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert len(piped.stdout.splitlines()) == 1
    assert "Traceback" not in piped.stderr


@pytest.mark.parametrize("field", ["temperature", "max_new_tokens", "max_tokens"])
def test_numbers_of_any_length_end_no_import(tmp_path: Path, field: str, capsys: Output) -> None:
    """JSON has integers that no float can hold."""
    data = tmp_path / "data.jsonl"
    data.write_text(f'{{"prompt": "a", "output_tokens": 3, "{field}": {"9" * 400}}}\n')
    new = tmp_path / "new.db"
    assert history("import", "--file", new, data, "--embedder", "hashed", "--strict") == 0
    assert count(new) == 1
    assert "1 records imported, 0 bad lines" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["file", "standard input"])
def test_a_line_that_is_not_utf8_is_named_and_left_out(
    tmp_path: Path, source: str, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = json.dumps(GOOD).encode() + b"\n"
    content, data, new = (
        good + b'{"prompt": "\xff"}\n' + good,
        tmp_path / "data",
        tmp_path / "new.db",
    )
    data.write_bytes(content)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    name = data if source == "file" else "-"
    assert history("import", "--file", new, name, "--embedder", "hashed") == 0
    said = capsys.readouterr().err
    assert "line 2: not UTF-8" in said
    assert "2 records imported, 1 bad lines" in said
    assert count(new) == 2
    assert history("import", "--file", tmp_path / "none.db", data, "--strict") == 1
    assert "nothing was imported" in capsys.readouterr().err


def test_a_time_that_no_calendar_has_is_a_bad_line(tmp_path: Path, capsys: Output) -> None:
    data, new = write(tmp_path / "data.jsonl", {**GOOD, "time": 1e300}, GOOD), tmp_path / "new.db"
    assert history("import", "--file", new, data, "--embedder", "hashed") == 0
    assert 'line 1: "time"' in capsys.readouterr().err
    assert history("info", "--file", new) == 0


def test_the_longest_output_survives_export_and_import(tmp_path: Path) -> None:
    """As long as the predictor service takes them."""
    new, copy = tmp_path / "new.db", tmp_path / "copy.db"
    data = write(tmp_path / "data.jsonl", {**GOOD, "output_tokens": 2**31 - 1})
    exported = tmp_path / "exported.jsonl"
    assert history("import", "--file", new, data, "--embedder", "hashed") == 0
    assert history("export", "--file", new, "--vectors", "--output", exported) == 0
    assert history("import", "--file", copy, exported, "--strict") == 0
    assert rows(copy, "SELECT output_tokens FROM records") == [(2**31 - 1,)]


def test_names_cannot_forge_lines_or_command_the_terminal(tmp_path: Path, capsys: Output) -> None:
    name = "a\nrecords   999\x1b[2J"
    data = write(tmp_path / "data.jsonl", {**GOOD, "tenant": name, "group": name})
    assert history("import", "--file", tmp_path / "new.db", data, "--embedder", "hashed") == 0
    assert history("info", "--file", tmp_path / "new.db") == 0
    shown = capsys.readouterr().out
    assert r"tenant    a\nrecords   999\x1b[2J: 1" in shown
    assert "\x1b" not in shown
    assert sum(line.startswith("records") for line in shown.splitlines()) == 1
