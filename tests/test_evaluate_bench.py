"""``bench_predict`` on a handful of made-up requests: the JSON that others read."""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bench import bench_predict
from bench.predict import data
from sagesched.predict import base

METHODS = {"sagesched", "published", "global", "topk", "gbm"}
STEMS = {
    "alpaca_eval_lengths",
    "codet_humaneval_100samples",
    "game24_gpt4_100samples",
    "sharegpt_turns_aibrix",
}


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    with gzip.open(folder / f"{name}.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def data_sets(folder: Path) -> None:
    texts = [f"Write {i} words about the sea, {'please ' * (i % 4)}" for i in range(30)]
    models = [
        {"prompt": text, "output_tokens": {"a": 10 + i, "b": 90 - i}}
        for i, text in enumerate(texts)
    ]
    draws = [
        {"prompt": text, "prompt_id": i, "output_tokens": [10 + i + n % 9 for n in range(100)]}
        for i, text in enumerate(texts[:4])
    ]
    turns = [
        {"timestamp_ms": i, "prompt": text * (1 + 80 * (i % 2)), "output_tokens": i % 20}
        for i, text in enumerate(texts * 3)
    ]
    write(folder, "alpaca_eval_lengths", models)
    write(folder, "codet_humaneval_100samples", draws)
    write(folder, "game24_gpt4_100samples", draws)
    write(folder, "sharegpt_turns_aibrix", turns)


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Any:
    pytest.importorskip("wordllama")
    pytest.importorskip("sklearn")
    folder = tmp_path_factory.mktemp("data")
    data_sets(folder)

    def measured(embedder: object, grid: object, size: int) -> dict[str, object]:
        latency = dict.fromkeys(("p50", "p99", "embed", "search", "record"), float(size))
        return {"latency_us": latency, "rss_mb": float(size)}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_predict, "measure", measured)
        patch.setattr(bench_predict, "WARM_UP", 5)
        patch.setattr(bench_predict, "AFTER_DRIFT", 10)
        patch.setattr(bench_predict, "generated", lambda embedder, _: data.generated(embedder, 60))
        out, tables = folder / "out.json", folder / "out.md"
        options = argparse.Namespace(quick=True, data=folder, json=out, markdown=tables)
        assert bench_predict.run(options) == 0
    return json.loads(out.read_text()), tables.read_text()


def test_the_json_is_as_promised(document: Any) -> None:
    found, _ = document
    assert found["datasets"].keys() >= STEMS
    for methods in found["datasets"].values():
        assert methods.keys() >= METHODS
        for scores in methods.values():
            assert all(isinstance(scores[key], float) for key in ("crps", "tau", "coverage90"))
            assert isinstance(scores["n"], int)
    assert found["latency_us"].keys() >= {"p50", "p99", "embed", "search"}
    assert (found["latency_us"]["p50"], found["rss_mb"]) == (10_000.0, 10_000.0)
    assert found["scaling"].keys() == {"1000", "10000"}


def test_beside_the_data_sets(document: Any) -> None:
    found, tables = document
    assert len(found["transfer"]) == 2
    for methods in found["transfer"].values():
        assert methods.keys() >= METHODS
    part, whole = found["sampling"]["head and tail"], found["sampling"]["whole prompt"]
    assert part["n_cut"] == whole["n_cut"] > 0
    assert part["embed_us_2200_chars"] > 0.0
    assert base.SAMPLE_CHARS < 1000
    assert "Learned from one, asked about the other" in tables
    assert "Head and tail of a prompt" in tables


def test_a_missing_folder(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["bench_predict", "--data", str(tmp_path / "none")])
    assert bench_predict.main() == 2
    assert "name it with --data" in capsys.readouterr().err
