"""Embedders by name."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sagesched.predict.base import Embedder

_logger = logging.getLogger(__name__)


def _wordllama() -> Embedder:
    from sagesched.predict.wordllama import WordLlamaEmbedder

    return WordLlamaEmbedder()


def _hashed() -> Embedder:
    from sagesched.predict.hashed import HashedEmbedder

    return HashedEmbedder()


def _auto() -> Embedder:
    try:
        return _wordllama()
    except (ImportError, OSError) as error:
        _logger.warning(
            "WordLlama is not usable (%s); prompts are compared by hashed words instead, which "
            "predicts less well. To install it: pip install 'sagesched[predict]'",
            type(error).__name__,
        )
        return _hashed()


_FACTORIES: dict[str, Callable[[], Embedder]] = {
    "auto": _auto,
    "wordllama": _wordllama,
    "hashed": _hashed,
}


def embedder_names() -> list[str]:
    """Names that `make_embedder` knows."""
    return list(_FACTORIES)


def make_embedder(name: str = "auto") -> Embedder:
    """Load an embedder; "auto" takes WordLlama where it is installed, else hashed words.

    Raises:
        ValueError: unknown name.
        ImportError: the embedder asked for is not installed.
    """
    if name not in _FACTORIES:
        raise ValueError(f"unknown embedder {name!r}; choose one of: {', '.join(_FACTORIES)}")
    return _FACTORIES[name]()
