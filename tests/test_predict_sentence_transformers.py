"""sentence-transformers models, by a tiny random one; nothing is downloaded."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from sagesched.predict import make_embedder

from .serving import engine_environment

# In a process of its own: its libraries do not survive "warnings as errors".
PROGRAM = """
import sys
import numpy as np
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer
from transformers import BertConfig, BertModel, BertTokenizerFast

folder = sys.argv[1]
words = "[PAD] [UNK] [CLS] [SEP] [MASK] what is the capital of peru write an essay ? .".split()
open(f"{folder}/vocab.txt", "w").write("\\n".join(words))
size = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
BertModel(BertConfig(vocab_size=len(words), **size)).save_pretrained(f"{folder}/bert")
BertTokenizerFast(f"{folder}/vocab.txt").save_pretrained(f"{folder}/bert")
bert = Transformer(f"{folder}/bert", max_seq_length=64)
SentenceTransformer(modules=[bert, Pooling(32)]).save(f"{folder}/tiny")

from sagesched.predict import make_embedder
embedder = make_embedder(f"sentence-transformers:{folder}/tiny")
assert embedder.name == "sentence-transformers:tiny" and embedder.dim == 32, embedder.name
texts = ["What is the capital?", "Write an essay.", "", "\\ud800", "peru " * 100_000]
rows = embedder.embed(texts)
assert rows.shape == (5, 32) and rows.dtype == np.float32
assert np.allclose(np.linalg.norm(rows, axis=1), [1, 1, 0, 1, 1], atol=1e-5)
alone = np.concatenate([embedder.embed([text]) for text in texts])
assert np.allclose(rows, alone, atol=1e-5)
print("embedded")
"""


@pytest.mark.skipif(
    find_spec("sentence_transformers") is None, reason="sentence-transformers is not installed"
)
def test_a_tiny_model_embeds(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        env=engine_environment(HF_HUB_OFFLINE="1"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.stdout.endswith("embedded\n"), run.stderr[-3000:]


def test_a_missing_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)  # as if not installed
    with pytest.raises(ImportError, match=r"pip install 'sagesched\[sentence-transformers\]'"):
        make_embedder("sentence-transformers:any")
