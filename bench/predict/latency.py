"""Microseconds and memory of a prediction, with so many records in the history."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from bench.demo.workload import built_in
from sagesched.lengths import LengthGrid
from sagesched.predict import LengthPredictor
from sagesched.predict.base import Embedder

CALLS = 400
PROMPT_CHARS = 2200
"""Some 500 tokens of the demo's English."""


def measure(embedder: Embedder, grid: LengthGrid, size: int) -> dict[str, object]:
    """In a process of its own, so that its memory is its own."""
    arguments = [str(size), str(grid.max_tokens), embedder.name]
    command = [sys.executable, "-m", "bench.predict.latency", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    p50, p99, embed, search, record, rss = map(float, done.stdout.split())
    latency = {"p50": p50, "p99": p99, "embed": embed, "search": search, "record": record}
    return {"latency_us": latency, "rss_mb": rss}


def _timed(call: Callable[[], object]) -> list[float]:
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        call()
        times.append(1e6 * (time.perf_counter() - start))
    return times


def main(size: int, max_tokens: int, name: str) -> None:
    """Print p50, p99, embed, search and record in us, and the resident memory in MB."""
    from sagesched.predict import make_embedder

    embedder = make_embedder(name)
    predictor = LengthPredictor(embedder, LengthGrid(max_tokens), capacity=size)
    texts = [request.text for request in built_in(seed=0, learn=600, requests=1).learning]
    random = np.random.default_rng(0)

    def prompt() -> str:
        return " ".join(texts[i] for i in random.integers(0, len(texts), 120))[:PROMPT_CHARS]

    base = predictor.embed([prompt() for _ in range(500)])
    start = time.perf_counter()
    for n in range(size + size // 10):
        vector = base[n % len(base)].copy()
        vector[: embedder.dim] += 0.05 * random.standard_normal(embedder.dim)
        predictor.record(vector, int(random.lognormal(5, 1)) + 1, finished=True)
    record = 1e6 * (time.perf_counter() - start) / (size + size // 10)
    prompts = iter([prompt() for _ in range(3 * CALLS)])

    def once() -> object:
        return predictor.predict_from(predictor.embed([next(prompts)]))

    whole = _timed(once)
    embed = _timed(lambda: predictor.embed([next(prompts)]))
    query = base[:1]
    search = _timed(lambda: predictor.nearest(query))
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    p50, p99 = np.percentile(whole, [50, 99])
    print(p50, p99, np.median(embed), np.median(search), record, rss)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
