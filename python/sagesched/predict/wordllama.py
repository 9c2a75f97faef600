"""WordLlama: static token vectors, averaged. Its wheel ships the weights, so it works offline.

A prompt costs tokenising plus a mean over rows of a table; there is no neural network to run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sagesched.predict.base import Vectors, sample_text, unit_rows
from sagesched.predict.tokens import tokens_by

DIMENSIONS = 128
"""Of 256: the model is trained so that the first ones say most. Half of them halve the search."""

SEARCH_DIMENSIONS = 62
"""With the two of the prompt's length 64; so the search takes half as long (docs/decisions.md)."""


class WordLlamaEmbedder:
    """Mean of the token vectors of a prompt, scaled to length 1.

    Raises:
        ImportError: wordllama is not installed (`pip install sagesched[predict]`).
        FileNotFoundError: its wheel came without the weights.
    """

    name = "wordllama"
    search_dim = SEARCH_DIMENSIONS

    def __init__(self) -> None:
        model = _load_offline()
        self._tokens = tokens_by(model.tokenizer)
        table: Vectors = model.embedding  # [vocabulary, 256]
        self._table = np.ascontiguousarray(table[:, :DIMENSIONS])
        self.dim = int(self._table.shape[1])

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder.embed`."""
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        # One by one, so that a prompt's vector does not depend on its batch.
        for row, text in zip(rows, texts, strict=True):
            tokens = self._tokens(sample_text(text))
            self._table.take(tokens, axis=0, mode="clip").sum(axis=0, out=row)
        return unit_rows(rows)


def _load_offline() -> Any:
    with _no_logging_set_up():
        import wordllama
    folder = Path(wordllama.__file__).parent
    return wordllama.WordLlama.load(cache_dir=folder, disable_download=True)


@contextmanager
def _no_logging_set_up() -> Iterator[None]:
    """WordLlama calls logging.basicConfig() when imported; the server's logging is not ours.

    basicConfig() leaves a root logger that has a handler alone.
    """
    placeholder = logging.NullHandler()
    logging.getLogger().addHandler(placeholder)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(placeholder)
