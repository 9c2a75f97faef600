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


def _model(model: str) -> Embedder:
    from sagesched.predict.model_embeddings import ModelEmbedder

    return ModelEmbedder(model)


def _sentence_transformers(model: str) -> Embedder:
    from sagesched.predict.sentence_transformers import SentenceTransformersEmbedder

    return SentenceTransformersEmbedder(model)


_FACTORIES: dict[str, Callable[[], Embedder]] = {
    "auto": _auto,
    "wordllama": _wordllama,
    "hashed": _hashed,
}
_OF_MODELS: dict[str, Callable[[str], Embedder]] = {
    "model": _model,
    "sentence-transformers": _sentence_transformers,
}
SERVED_MODEL = "model"


def embedder_names() -> list[str]:
    """What `make_embedder` takes; MODEL stands for a folder or a model's name."""
    return [*_FACTORIES, SERVED_MODEL, *(f"{name}:MODEL" for name in _OF_MODELS)]


def known_embedder(name: str) -> str:
    """The name itself.

    Raises:
        ValueError: `make_embedder` does not know it.
    """
    kind, _, model = name.partition(":")
    if name not in _FACTORIES and name != SERVED_MODEL and not (kind in _OF_MODELS and model):
        raise ValueError(f"unknown embedder {name!r}; choose one of: {', '.join(embedder_names())}")
    return name


def make_embedder(name: str = "auto", served_model: str | None = None) -> Embedder:
    """Load an embedder; "auto" takes WordLlama where it is installed, else hashed words.

    Args:
        name: one of `embedder_names`.
        served_model: the folder or name that "model" means.

    Raises:
        ValueError: unknown name, or "model" where no model is served.
        ImportError: the embedder asked for is not installed.
        OSError: its model cannot be read.
    """
    kind, _, model = known_embedder(name).partition(":")
    if kind in _FACTORIES:
        return _FACTORIES[kind]()
    if not (model := model or served_model or ""):
        raise ValueError("no model is served here; name one: model:FOLDER")
    return _OF_MODELS[kind](model)
