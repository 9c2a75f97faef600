"""What it costs to look at a long prompt's head and tail only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bench.predict.data import TURNS
from bench.predict.latency import PROMPT_CHARS
from sagesched.evaluate.data import Reading, read_rows
from sagesched.evaluate.embedding import stream_of
from sagesched.evaluate.methods import METHODS
from sagesched.evaluate.replay import replay
from sagesched.lengths import LengthGrid
from sagesched.predict import LengthPredictor, base
from sagesched.predict.base import Embedder

WHOLE = 10**9


@contextmanager
def _sampled(chars: int) -> Iterator[None]:
    """Prompts are cut to so many characters at each end."""
    before = base.SAMPLE_CHARS
    base.SAMPLE_CHARS = chars
    try:
        yield
    finally:
        base.SAMPLE_CHARS = before


def sampling(
    embedder: Embedder, folder: Path, grid: LengthGrid, warm_up: int
) -> dict[str, dict[str, float]]:
    """Chat turns, most of which are longer than the sample: scores and times of both ways.

    Embedding times are medians of single calls, of the turns and of 2,200 characters each.
    """
    rows = read_rows(folder / f"{TURNS}.jsonl.gz", Reading())
    texts = [row.prompt for row in rows]
    long = [text[:PROMPT_CHARS] for text in texts if len(text) >= PROMPT_CHARS]
    cut = np.array([len(text) > 2 * base.SAMPLE_CHARS for text in texts])
    cut[:warm_up] = False
    found = {}
    for name, chars in (("head and tail", base.SAMPLE_CHARS), ("whole prompt", WHOLE)):
        with _sampled(chars):
            stream = stream_of(rows, embedder)
            times = _embed_us(embedder, texts), _embed_us(embedder, long)
        columns = replay(stream, METHODS["sagesched"](embedder, grid), grid)
        score, of_cut = columns[warm_up:].score(), columns[cut].score()
        found[name] = {
            "crps": score.crps,
            "tau": score.tau,
            "coverage90": score.coverage90,
            "n": score.n,
            "crps_of_cut": of_cut.crps,
            "n_cut": of_cut.n,
            "embed_us": times[0],
            "embed_us_2200_chars": times[1],
        }
    return found


def _embed_us(embedder: Embedder, texts: list[str]) -> float:
    predictor = LengthPredictor(embedder, LengthGrid(8), capacity=1)
    times = []
    for text in texts:
        start = time.perf_counter()
        predictor.embed([text])
        times.append(1e6 * (time.perf_counter() - start))
    return float(np.median(times))
