"""What every embedder is and does: the protocol, and how a prompt of any size becomes a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sagesched import _core

Vectors = NDArray[np.float32]

SAMPLE_CHARS = 320
"""Characters kept from each end of a long prompt: the task is stated at the start or the end."""


class Embedder(Protocol):
    """Turns prompts into vectors whose inner product says how alike two prompts are."""

    @property
    def name(self) -> str:
        """Name in the registry, for logs and counters."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    @property
    def search_dim(self) -> int:
        """So many of the first elements say most: the search for neighbours compares those."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit rows, float32[n, dim]; a text without content gives a zero row. Never raises for
        what a str may hold: lone surrogates, control characters, megabytes."""


class Excerpt(str):
    """The head and the tail of a longer prompt.

    Attributes:
        chars: length of the whole prompt, as far as known.
    """

    chars: int

    @classmethod
    def of(cls, text: str, chars: int) -> Excerpt:
        """With the whole prompt's length."""
        excerpt = cls(text)
        excerpt.chars = chars
        return excerpt


def chars_of(text: str) -> int:
    """Characters of the prompt that a text is, or is an excerpt of."""
    return text.chars if isinstance(text, Excerpt) else len(text)


def sample_text(text: str) -> str:
    """At most 640 characters that any tokenizer accepts: a long prompt's head and tail.

    Constant time in the length of the prompt; `sample_text(sample_text(t)) == sample_text(t)`.
    """
    if len(text) > 2 * SAMPLE_CHARS:
        text = text[:SAMPLE_CHARS] + "\n" + text[1 - SAMPLE_CHARS :]
    # Lone surrogates are legal in a str (JSON "\ud800") and have no UTF-8 form: they become "?".
    return text.encode("utf-8", "replace").decode("utf-8")


def unit_rows(rows: NDArray[np.floating]) -> Vectors:
    """Scale each row of [n, dim] to length 1; zero and non-finite rows become zero rows."""
    return _core.unit_rows(rows)
