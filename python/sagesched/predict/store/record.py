"""A finished request as it is stored, and what its vector means."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from sagesched.predict.base import Vectors
from sagesched.predict.features import FORMAT

MAX_TEXT_CHARS = 20_000
"""A longer prompt is stored without its middle."""
MAX_NAME_CHARS = 256
"""A longer name of a group or a tenant is cut: both may come from clients."""


@dataclass(frozen=True)
class Space:
    """Vectors can be compared, and learned from, within one space only.

    Attributes:
        embedder: its name.
        dim: length of a vector, the features included.
        features: version of the features' format.
    """

    embedder: str
    dim: int
    features: int = FORMAT

    def __str__(self) -> str:
        return f"{self.embedder}, {self.dim} numbers, features {self.features}"


@dataclass(frozen=True, eq=False)
class Record:
    """One finished request.

    Attributes:
        vector: float32[dim] of its prompt, as `LengthPredictor.embed` made it.
        output_tokens: tokens produced.
        finished: False where the output would have been longer.
        group: model, adapter or route; "" where unknown.
        tenant: on whose behalf; "" where unknown.
        text: the prompt, where it is stored.
        time: when it ended, seconds since 1970.
    """

    vector: Vectors
    output_tokens: int
    finished: bool
    group: str = ""
    tenant: str = ""
    text: str | None = None
    time: float = field(default_factory=time.time)


def storable(text: str) -> str:
    """A prompt as it may be stored: valid Unicode, and not longer than `MAX_TEXT_CHARS`."""
    if len(text) > MAX_TEXT_CHARS:
        half = MAX_TEXT_CHARS // 2
        text = text[:half] + "\n" + text[1 - half :]
    return valid(text)


def valid(text: str) -> str:
    """Lone surrogates, which have no UTF-8 form, become "?"."""
    return text.encode("utf-8", "replace").decode("utf-8")
