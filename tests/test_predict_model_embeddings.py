"""The served model's own input embeddings: found, reduced, and the same in every batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sagesched.predict import make_embedder
from sagesched.predict.token_ids import TokenIds, embed_contents

from .serving import model_directory

WRITE = """
import sys, torch
from safetensors.torch import save_file
random = torch.Generator().manual_seed(0)
matrix = torch.randn(1024, 48, generator=random).bfloat16()
save_file({sys.argv[2]: matrix, "norm.weight": torch.ones(4)}, sys.argv[1])
"""


@pytest.fixture(scope="module")
def tiny() -> Path:
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    pytest.importorskip("torch", reason="torch is not installed")
    return model_directory()


def write(file: Path, name: str) -> None:
    subprocess.run([sys.executable, "-c", WRITE, str(file), name], check=True)


def link_tokenizer(tiny: Path, folder: Path) -> None:
    (folder / "tokenizer.json").symlink_to(tiny / "tokenizer.json")


def test_texts_and_their_ids_have_the_same_vector(tiny: Path) -> None:
    from tokenizers import Tokenizer

    embedder = make_embedder("model", str(tiny))
    texts = ["Write a long essay about the sea.", "What is the capital of Peru?", "", "\ud800"]
    tokenizer = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    ids = [TokenIds.of(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts[:2]]
    rows = embedder.embed(texts)
    assert rows.shape == (4, embedder.dim)
    assert np.array_equal(embed_contents(embedder, ids), rows[:2])
    assert np.array_equal(np.concatenate([embedder.embed([text]) for text in texts]), rows)
    norms = np.linalg.norm(rows, axis=1)
    assert norms[[0, 1, 3]] == pytest.approx(1.0, abs=1e-5)
    assert norms[2] == 0.0


def test_like_prompts_are_alike(tiny: Path) -> None:
    first, second, other = make_embedder(f"model:{tiny}").embed(
        [
            "Write a long, detailed essay about winter, with several chapters.",
            "Write a long, detailed essay about trains, with several chapters.",
            "What is the capital of Peru? One word, please.",
        ]
    )
    assert first @ second > first @ other + 0.2


def test_ids_beyond_the_vocabulary_are_left_out(tiny: Path) -> None:
    embedder = make_embedder("model", str(tiny))
    rows = embed_contents(embedder, [TokenIds.of([5, 2**31 - 1]), TokenIds.of([5])])
    assert np.array_equal(rows[0], rows[1])


def test_the_name_tells_models_apart(tiny: Path, tmp_path: Path) -> None:
    link_tokenizer(tiny, tmp_path)
    write(tmp_path / "model.safetensors", "transformer.wte.weight")
    other, same = make_embedder("model", str(tmp_path)), make_embedder("model", str(tmp_path))
    assert other.name == same.name != make_embedder("model", str(tiny)).name
    assert str(tmp_path) not in other.name


def test_weights_in_several_files_are_found_by_their_index(tiny: Path, tmp_path: Path) -> None:
    link_tokenizer(tiny, tmp_path)
    write(tmp_path / "part-2.safetensors", "language_model.model.embed_tokens.weight")
    names = {"lm_head.weight": "absent", "language_model.model.embed_tokens.weight": "part-2"}
    index = {"weight_map": {name: f"{file}.safetensors" for name, file in names.items()}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert make_embedder("model", str(tmp_path)).dim == 128


def test_a_model_in_the_hugging_face_cache(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "models--maker--tiny" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    for name in os.listdir(tiny):
        (snapshot / name).symlink_to(tiny / name)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    assert make_embedder("model:maker/tiny").name == make_embedder("model", str(tiny)).name


@pytest.mark.parametrize("model", ["nobody/nothing", "no such folder", "/no/such/folder"])
def test_a_model_that_is_not_there(model: str, tiny: Path) -> None:
    with pytest.raises(FileNotFoundError, match="download the model first"):
        make_embedder("model", model)


def test_what_is_missing_is_said(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json.*set SAGESCHED_EMBEDDER"):
        make_embedder("model", str(tmp_path))
    link_tokenizer(tiny, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no \*\.safetensors"):
        make_embedder("model", str(tmp_path))
    write(tmp_path / "model.safetensors", "something.else")
    with pytest.raises(ValueError, match=r"no token embeddings.*embed_tokens\.weight"):
        make_embedder("model", str(tmp_path))


def test_without_a_served_model_one_must_be_named() -> None:
    with pytest.raises(ValueError, match="model:FOLDER"):
        make_embedder("model")
