"""Prompts of which only token ids are known: servers that run without a tokenizer.

Embedders of text cannot read them. What is left is that like prompts share tokens, so ids and pairs
of neighbouring ids are hashed as words are, into as many dimensions as the embedder has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from sagesched.predict.base import Vectors, unit_rows

if TYPE_CHECKING:
    from sagesched.predict.base import Embedder

SAMPLE_TOKENS = 128
"""Kept from each end of a long prompt."""
_PAIR_WEIGHT = 0.25
_ID_MASK = 0x7FFF_FFFF


@dataclass(frozen=True)
class TokenIds:
    """A prompt's ids.

    Attributes:
        sample: all of them, or the head and the tail of a long prompt.
        count: how many the prompt has.
    """

    sample: tuple[int, ...]
    count: int

    @classmethod
    def of(cls, ids: Sequence[int]) -> TokenIds:
        """Constant time in the length of the prompt; any whole numbers will do."""
        kept = ids
        if len(ids) > 2 * SAMPLE_TOKENS:
            kept = [*ids[:SAMPLE_TOKENS], *ids[-SAMPLE_TOKENS:]]
        return cls(tuple(int(token) & _ID_MASK for token in kept), len(ids))


Content = str | TokenIds
"""What is known of a prompt."""


class IdEmbedder(Protocol):
    """An embedder that reads token ids by itself."""

    def embed_ids(self, prompts: Sequence[TokenIds]) -> Vectors:
        """As `Embedder.embed`."""


def embed_contents(embedder: Embedder, contents: Sequence[Content]) -> Vectors:
    """Unit or zero rows, float32[n, embedder.dim], of texts and of token ids."""
    texts = [content for content in contents if isinstance(content, str)]
    if len(texts) == len(contents):
        return embedder.embed(texts)
    ids = [content for content in contents if isinstance(content, TokenIds)]
    is_text = np.array([isinstance(content, str) for content in contents])
    rows = np.zeros((len(contents), embedder.dim), dtype=np.float32)
    if texts:
        rows[is_text] = embedder.embed(texts)
    rows[~is_text] = embedder.embed_ids(ids) if _reads_ids(embedder) else hashed(ids, embedder.dim)
    return rows


def _reads_ids(embedder: object) -> TypeGuard[IdEmbedder]:
    return hasattr(embedder, "embed_ids")


def hashed(prompts: Sequence[TokenIds], dim: int) -> Vectors:
    """Signed feature hashing of ids and of pairs of neighbouring ids, float32[n, dim]."""
    rows = np.zeros((len(prompts), dim), dtype=np.float64)
    for row, prompt in zip(rows, prompts, strict=True):
        ids = np.array(prompt.sample, dtype=np.uint64)
        row += _counted(ids, dim)
        row += _PAIR_WEIGHT * _counted(ids[:-1] << np.uint64(32) | ids[1:], dim)
    return unit_rows(rows)


def _counted(codes: NDArray[np.uint64], dim: int) -> NDArray[np.float64]:
    unique, counts = np.unique(codes, return_counts=True)
    mixed = _mix(unique)
    sign = np.where(mixed >> np.uint64(63), 1.0, -1.0)
    place = (mixed >> np.uint64(16)) % np.uint64(dim)
    weights = sign * (1.0 + np.log(counts))
    return np.bincount(place.astype(np.int64), weights, dim).astype(np.float64)


def _mix(codes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 (Vigna): like codes get unlike numbers, the same in every process."""
    mixed = codes + np.uint64(0x9E37_79B9_7F4A_7C15)
    mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58_476D_1CE4_E5B9)
    mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D0_49BB_1331_11EB)
    return np.asarray(mixed ^ mixed >> np.uint64(31))
