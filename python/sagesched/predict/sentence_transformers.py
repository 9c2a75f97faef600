"""Any sentence-transformers model, on the CPU: for who wants better vectors and has the cores.

A small model takes tens of milliseconds a prompt where WordLlama takes a fraction of one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sagesched.predict.base import Vectors, sample_text, unit_rows

PREFIX = "sentence-transformers:"
BATCH = 32


class SentenceTransformersEmbedder:
    """Prompts are computed in batches, so a vector depends on its batch in the last digits.

    Args:
        model: a folder, or a model's name; sentence-transformers downloads what it does not have.

    Raises:
        ImportError: sentence-transformers is not installed.
        OSError: the model cannot be loaded.
    """

    def __init__(self, model: str) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise ImportError(
                "sentence-transformers is not installed: "
                "pip install 'sagesched[sentence-transformers]'"
            ) from error
        self._model = SentenceTransformer(model, device="cpu")  # the GPU is the server's
        self.name = PREFIX + model.rstrip("/").rpartition("/")[2]
        self.dim = self.search_dim = int(self._encode(["a"]).shape[1])

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder.embed`."""
        samples = [sample_text(text) for text in texts]
        rows = np.zeros((len(samples), self.dim), dtype=np.float32)
        filled = [at for at, sample in enumerate(samples) if sample.strip()]
        if filled:
            rows[filled] = self._encode([samples[at] for at in filled])
        return unit_rows(rows)

    def _encode(self, texts: list[str]) -> Vectors:
        found = self._model.encode(texts, batch_size=BATCH, show_progress_bar=False)
        return np.asarray(found, dtype=np.float32)
