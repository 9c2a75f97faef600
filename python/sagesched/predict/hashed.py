"""Hashed word n-grams: the embedder that needs numpy only, for where WordLlama is not installed.

It sees shared words and word pairs, no synonyms: good for traffic that follows templates.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from zlib import crc32

import numpy as np

from sagesched.predict.base import Vectors, sample_text, unit_rows

_WORD = re.compile(r"\w+|[^\w\s]")
_PAIR_WEIGHT = 0.5
_INFORMATIVE_LETTERS = 8


class HashedEmbedder:
    """Signed feature hashing of words and word pairs into 256 dimensions.

    crc32 and not hash(): the same text has the same vector in every process.
    """

    name = "hashed"
    dim = 256
    search_dim = 256

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder.embed`."""
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for feature, weight in _features(sample_text(text).lower()):
                code = crc32(feature.encode())
                row[code % self.dim] += weight if code & 0x8000_0000 else -weight
        return unit_rows(rows)


def _features(text: str) -> Iterator[tuple[str, float]]:
    """Words and pairs of neighbouring words, each with its weight."""
    words = _WORD.findall(text)
    for word, count in Counter(words).items():
        # Long words are rare words: their length stands in for the inverse document frequency.
        length = min(len(word), _INFORMATIVE_LETTERS) / _INFORMATIVE_LETTERS
        yield word, length * (1.0 + math.log(count))
    for pair, count in Counter(pairwise(words)).items():
        yield " ".join(pair), _PAIR_WEIGHT * (1.0 + math.log(count))
