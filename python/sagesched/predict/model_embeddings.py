"""The served model's own input embeddings, averaged over a prompt's tokens.

They cost no second model and know the vocabulary that is served, whatever its language. They are
read from the model's safetensors file; nothing is downloaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagesched.predict.base import Vectors, sample_text, unit_rows
from sagesched.predict.token_ids import TokenIds

DIMENSIONS = 128
SLAB_ROWS = 8192
"""Rows of the matrix in memory at a time."""
MATRICES = (
    "embed_tokens.weight",
    "tok_embeddings.weight",
    "wte.weight",
    "word_embeddings.weight",
    "embed_in.weight",
)
"""How the names of the matrix end, in the models that there are."""


class ModelEmbedder:
    """Mean of a prompt's token vectors, less that of an average text, projected to 128 dimensions.

    The projection is random and always the same; it predicts as well as principal components do.

    Args:
        model: a folder, or the name of a model in the local Hugging Face cache.

    Raises:
        ImportError: safetensors, torch or tokenizers is not installed (SGLang brings them).
        FileNotFoundError: the model, its weights or its tokenizer.json are not there.
        ValueError: the weights have no matrix of token embeddings.
    """

    def __init__(self, model: str) -> None:
        folder = _folder(model)
        self._tokenizer = _tokenizer(folder)
        self._table = _reduced(folder)
        self.dim = self.search_dim = self._table.shape[1]
        # Vectors of different models cannot be compared, so the name tells them apart.
        self.name = f"model:{blake2b(self._table[:SLAB_ROWS].tobytes(), digest_size=4).hexdigest()}"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder.embed`."""
        samples = [sample_text(text) for text in texts]
        encoded = self._tokenizer.encode_batch_fast(samples, add_special_tokens=False)
        return self._means([encoding.ids for encoding in encoded])

    def embed_ids(self, prompts: Sequence[TokenIds]) -> Vectors:
        """See `IdEmbedder.embed_ids`."""
        return self._means([prompt.sample for prompt in prompts])

    def _means(self, prompts: Sequence[Sequence[int]]) -> Vectors:
        rows = np.zeros((len(prompts), self.dim), dtype=np.float32)
        for row, prompt in zip(rows, prompts, strict=True):
            ids = np.array(prompt, dtype=np.int64)
            ids = ids[ids < len(self._table)]
            if len(ids):
                row[:] = self._table[ids].mean(axis=0, dtype=np.float32)
        return unit_rows(rows)


def _folder(model: str) -> Path:
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, local_files_only=True))
    except (OSError, ValueError) as error:  # its errors are of these kinds
        raise FileNotFoundError(
            f"the embedder 'model' finds no folder {model!r}, and no model of this name in the "
            "Hugging Face cache; download the model first, or set SAGESCHED_EMBEDDER to another one"
        ) from error


def _tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"the embedder 'model' needs {path}; set SAGESCHED_EMBEDDER to another one"
        )
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _reduced(folder: Path) -> NDArray[np.float16]:
    """float16[vocabulary, DIMENSIONS]."""
    slabs = [_projected(slab) for slab in _slabs(*_matrix(folder))]
    table = np.concatenate(slabs)
    # Vocabularies list common tokens first, so by Zipf's law this is an average text.
    common = 1.0 / (np.arange(len(table)) + 10.0)
    table -= (common / common.sum()) @ table
    table /= max(float(np.abs(table).max()), 1e-30)  # within float16's range
    return table.astype(np.float16)


def _matrix(folder: Path) -> tuple[Path, str]:
    """The file that holds the token embeddings, and their name in it."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        weights = json.loads(index.read_text())["weight_map"]
        files = {name: folder / file for name, file in weights.items()}
    else:
        files = {name: file for file in sorted(folder.glob("*.safetensors"))
                 for name in _names(file)}  # fmt: skip
    if not files:
        raise FileNotFoundError(
            f"the embedder 'model' finds no *.safetensors in {folder}; set SAGESCHED_EMBEDDER to "
            "another one"
        )
    for name in sorted(files, key=len):  # a model's own before those of its parts
        if name.endswith(MATRICES):
            return files[name], name
    raise ValueError(
        f"the embedder 'model' finds no token embeddings in {folder}: no tensor's name ends with "
        f"{', '.join(MATRICES)}; set SAGESCHED_EMBEDDER to another one"
    )


def _names(file: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as tensors:
        return list(tensors.keys())


def _slabs(file: Path, name: str) -> Iterator[Vectors]:
    """The matrix, some rows at a time."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as tensors:
        matrix = tensors.get_slice(name)
        rows = matrix.get_shape()[0]
        for start in range(0, rows, SLAB_ROWS):
            yield matrix[start : min(start + SLAB_ROWS, rows)].float().numpy()


def _projected(slab: Vectors) -> Vectors:
    width = slab.shape[1]
    random = np.random.default_rng(0).standard_normal((width, DIMENSIONS), dtype=np.float32)
    return np.nan_to_num(slab) @ random
