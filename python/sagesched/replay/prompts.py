"""Token ids for prompts of which a trace knows the text, the length or the shared blocks.

The ids are no model's tokens; what matters is which prompts begin alike, since that is what the
radix cache sees. Equal beginnings give equal ids and nothing else does, up to chance (one in
99,000 per token). Everything is a fixed function of its arguments: the same on every machine.
"""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sagesched.replay.trace import FIRST_PROMPT_TOKEN, LAST_PROMPT_TOKEN

BYTES_PER_TOKEN = 4
"""UTF-8 bytes of text behind one id: what English text and a vocabulary of 100,000 come to."""

BLOCK_TOKENS = 512
"""Tokens of a shared block, as in Mooncake's traces."""

Hashes = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
_SECOND_FACTOR = np.uint64(0x94D049BB133111EB)


def stable_hash(*parts: str | int) -> int:
    """64 bits from the parts; unlike ``hash()`` the same in every process."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def tokens_of_text(text: str) -> int:
    """How many ids ``text`` becomes; also our guess of its true number of tokens."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a trace knows of a prompt. Small; ``build`` makes the ids, at each call anew.

    Attributes:
        key: tells prompts of which only the length is known from all others.
        tokens: its length, if known: the ids are cut or filled up to it.
        pieces: the text, in pieces that are joined by ``separator``. Prompts of one conversation
            share the strings.
        ids: token ids as recorded; those outside our range are moved into it.
        blocks: names of shared blocks that the prompt begins with.
        block_tokens: length of each block.
    """

    key: str
    tokens: int | None = None
    pieces: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    blocks: tuple[str, ...] = ()
    block_tokens: int = BLOCK_TOKENS

    @property
    def text(self) -> str:
        """The prompt as a length predictor sees it; empty if only its length is known."""
        return "\n\n".join(self.pieces)

    def build(self) -> array[int]:
        """The token ids, ``array('q')``."""
        text = self.text
        found = _known_hashes(self, text)
        if self.tokens is None or len(found) == self.tokens:
            return _to_ids(found)
        if len(found) < self.tokens:
            # By content where there is any, so that a repeated prompt is repeated to its end.
            key = stable_hash("fill", text or self.key, *self.blocks)
            found = np.concatenate([found, _spread(np.array([key]), self.tokens - len(found))])
            return _to_ids(found)
        found = found[: self.tokens].copy()
        if text:  # Prompts that differ only in what was cut off are still different.
            found[-1] = stable_hash("end", text)
        return _to_ids(found)


def _known_hashes(prompt: Prompt, text: str) -> Hashes:
    """[tokens] of what is known: the blocks, then the recorded ids, then the text."""
    parts = []
    if prompt.blocks:
        keys = [stable_hash("block", name) for name in prompt.blocks]
        parts.append(_spread(np.array(keys, dtype=np.uint64), prompt.block_tokens))
    if prompt.ids:
        parts.append(_of_recorded_ids(np.array(prompt.ids, dtype=np.int64)))
    if text:
        data = text.encode("utf-8", "surrogatepass")
        data += bytes(-len(data) % BYTES_PER_TOKEN)
        parts.append(_mixed(np.frombuffer(data, dtype="<u4").astype(np.uint64)))
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)


def _of_recorded_ids(ids: NDArray[np.int64]) -> Hashes:
    """Values that `_to_ids` turns back into the ids themselves, where those are in our range."""
    inside = (ids >= FIRST_PROMPT_TOKEN) & (ids < LAST_PROMPT_TOKEN)
    kept = (ids - FIRST_PROMPT_TOKEN).astype(np.uint64)  # wraps below the range: not used there
    return np.where(inside, kept, _mixed(ids.astype(np.uint64)))


def _spread(keys: NDArray[np.uint64], count: int) -> Hashes:
    """``count`` unrelated values for each of the keys: [keys * count]."""
    steps = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    return _mixed((keys.astype(np.uint64)[:, None] + steps[None, :]).ravel())


def _mixed(values: Hashes) -> Hashes:
    """The finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014): every bit moves all."""
    values = values + _GOLDEN
    values = (values ^ (values >> np.uint64(30))) * _FIRST_FACTOR
    values = (values ^ (values >> np.uint64(27))) * _SECOND_FACTOR
    mixed: Hashes = values ^ (values >> np.uint64(31))
    return mixed


def _to_ids(hashes: Hashes) -> array[int]:
    span = np.uint64(LAST_PROMPT_TOKEN - FIRST_PROMPT_TOKEN)
    ids = (hashes % span).astype(np.int64) + FIRST_PROMPT_TOKEN
    result = array("q")
    result.frombytes(ids.tobytes())
    return result
