"""Prompts to vectors, each different prompt once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sagesched.evaluate.rows import Row
from sagesched.evaluate.stream import NO_LIMIT, Stream
from sagesched.lengths import LengthGrid
from sagesched.predict import LengthPredictor
from sagesched.predict.base import Embedder, Vectors
from sagesched.predict.features import Options

BATCH = 256


def embed(
    texts: Sequence[str],
    embedder: Embedder,
    options: Sequence[Options] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Vectors:
    """float32[n, dim] as the predictor makes them; `progress` gets (done, total)."""
    predictor = LengthPredictor(embedder, LengthGrid(8), capacity=1)
    asked = [Options()] * len(texts) if options is None else options
    keys = list(zip(texts, asked, strict=True))
    different = list(dict.fromkeys(keys))
    places = {key: place for place, key in enumerate(different)}
    parts = [np.zeros((0, predictor.dim), dtype=np.float32)]
    for start in range(0, len(different), BATCH):
        batch = different[start : start + BATCH]
        parts.append(predictor.embed([text for text, _ in batch], [of for _, of in batch]))
        progress(start + len(batch), len(different))
    return np.concatenate(parts)[[places[key] for key in keys]]


def stream_of(
    rows: list[Row],
    embedder: Embedder,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Stream:
    """The rows, which are in order of arrival, without their texts."""
    options = [row.options for row in rows]
    limits = [NO_LIMIT if of.max_new_tokens is None else of.max_new_tokens for of in options]
    arrivals = [np.nan if row.arrival_s is None else row.arrival_s for row in rows]
    ends = [np.nan if row.finish_s is None else row.finish_s for row in rows]
    return Stream(
        embed([row.prompt for row in rows], embedder, options, progress),
        np.array([row.tokens for row in rows], dtype=np.int64),
        [row.group for row in rows],
        [row.tenant for row in rows],
        np.array([row.finished for row in rows], dtype=np.bool_),
        np.array(limits, dtype=np.int64),
        None if np.isnan(arrivals).any() else np.array(arrivals),
        None if np.isnan(ends).all() else np.array(ends),
    )
