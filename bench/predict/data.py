"""The data sets of bench_predict: real ones from the shared folder, and traffic that changes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.demo.workload import built_in
from sagesched.evaluate.data import Reading, read_rows
from sagesched.evaluate.embedding import embed, stream_of
from sagesched.evaluate.scoring import Lengths
from sagesched.evaluate.stream import Stream
from sagesched.predict.base import Embedder, Vectors
from sagesched.replay.generators import GeneratedWorkload

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
ALPACA, TURNS = "alpaca_eval_lengths", "sharegpt_turns_aibrix"
FOLDS = 5
HELD_OUT = 40


@dataclass(frozen=True)
class Split:
    """Prompts to learn from and prompts to ask about, each with lengths [prompts, draws]."""

    group: str
    known: Vectors
    known_lengths: Lengths
    asked: Vectors
    asked_lengths: Lengths

    def learned(self) -> Iterator[tuple[Vectors, int]]:
        """All draws of the known prompts in a random order, the same every time."""
        per_prompt = self.known_lengths.shape[1]
        for i in np.random.default_rng(1).permutation(self.known_lengths.size):
            yield self.known[i // per_prompt], int(self.known_lengths.flat[i])


@dataclass(frozen=True)
class Drift:
    """Requests in order of time; `at` is where the traffic changes, 0 for nowhere."""

    stream: Stream
    at: int = 0


def turns(folder: Path, embedder: Embedder) -> Stream:
    """Chat turns that have a prompt and an answer."""
    return stream_of(read_rows(folder / f"{TURNS}.jsonl.gz", Reading()), embedder)


def read(name: str, folder: Path) -> list[dict[str, Any]]:
    """Rows of a file."""
    with gzip.open(folder / f"{name}.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def real(name: str, folder: Path, embedder: Embedder, draws: int = 10) -> list[Split]:
    """The splits of a data set that has no times."""
    rows = read(name, folder)
    if name == ALPACA:
        return _folds(rows, embedder)
    lengths = np.array([row["output_tokens"] for row in rows])
    if name == "game24_gpt4_100samples":
        prompts = [f"Use the numbers of puzzle {row['prompt_id']} to get 24." for row in rows]
        vectors = embed(prompts, embedder)
        return [Split(name, vectors, lengths[:, :50], vectors, lengths[:, 50:])]
    vectors = embed([row["prompt"] for row in rows], embedder)
    return [Split(name, vectors, lengths[:, :draws], vectors, lengths[:, -HELD_OUT:])]


def _folds(rows: list[dict[str, Any]], embedder: Embedder) -> list[Split]:
    vectors = embed([row["prompt"] for row in rows], embedder)
    order = np.random.default_rng(0).permutation(len(rows))
    splits = []
    for model in rows[0]["output_tokens"]:
        lengths = np.array([[row["output_tokens"][model]] for row in rows])
        for asked in np.array_split(order, FOLDS):
            known = np.setdiff1d(order, asked)
            splits.append(
                Split(model, vectors[known], lengths[known], vectors[asked], lengths[asked])
            )
    return splits


def task_families(embedder: Embedder) -> list[Split]:
    """The demo's traffic, three times: half of what is asked in phrasings never learned."""
    splits = []
    for seed in range(3):
        load = built_in(seed=seed, learn=300, requests=600)
        parts = [
            (embed([r.text for r in part], embedder), np.array([[r.output_tokens] for r in part]))
            for part in (load.learning, load.timed)
        ]
        splits.append(Split(f"seed {seed}", *parts[0], *parts[1]))
    return splits


def transferred(folder: Path, embedder: Embedder) -> dict[str, list[Split]]:
    """Learned from one kind of traffic, asked about the other; each model of alpaca by itself."""
    chats = turns(folder, embedder)
    chat_lengths = chats.lengths[:, np.newaxis]
    rows = read(ALPACA, folder)
    vectors = embed([row["prompt"] for row in rows], embedder)
    there, back = [], []
    for model in rows[0]["output_tokens"]:
        lengths = np.array([[row["output_tokens"][model]] for row in rows])
        there.append(Split(model, chats.vectors, chat_lengths, vectors, lengths))
        back.append(Split(model, vectors, lengths, chats.vectors, chat_lengths))
    return {f"{TURNS} to {ALPACA}": there, f"{ALPACA} to {TURNS}": back}


def generated(embedder: Embedder, half: int) -> dict[str, Drift]:
    """Traffic of 40 task clusters, twice `half` requests; it changes in the middle."""
    requests = list(GeneratedWorkload("cluster", 2 * half).requests(seed=5, rate_rps=1.0))
    vectors = embed([request.text for request in requests], embedder)
    lengths = np.array([request.output_tokens for request in requests])
    doubled = np.where(np.arange(2 * half) < half, lengths, 2 * lengths)
    groups = [""] * half + ["new"] * half
    clusters = np.array([int(request.cluster[:2]) % 2 for request in requests])
    old, new = np.flatnonzero(clusters == 0), np.flatnonzero(clusters == 1)
    joined = np.concatenate([old[: len(old) // 2], _shuffled(old[len(old) // 2 :], new)])
    return {
        "drift_lengths": Drift(Stream.plain(vectors, doubled), half),
        "drift_model": Drift(Stream.plain(vectors, doubled, groups), half),
        "drift_tenant": Drift(Stream.plain(vectors[joined], lengths[joined]), len(old) // 2),
    }


def _shuffled(*parts: Any) -> Any:
    return np.random.default_rng(2).permutation(np.concatenate(parts))
