"""How well prompts tell output lengths: the predictor against what is simpler, on real lengths.

Five-fold, on the data in the shared folder. Prints a Markdown table of CRPS (tokens, lower is
better; for a point forecast it is the mean error) and Kendall's tau of the mean against the real
length, then the time a prediction takes. About half a minute on one core.

    python bench/bench_predict_quick.py
"""

from __future__ import annotations

import gzip
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sagesched.lengths import Floats, LengthGrid
from sagesched.predict import LengthPredictor, PredictorConfig, make_embedder

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
GRID = LengthGrid(8192)
SAMPLES = 20  # of CodeT's 100 for each prompt

Lengths = NDArray[np.int64]
Score = tuple[float, float]  # CRPS, tau


@dataclass(frozen=True)
class Trial:
    """Prompts with their lengths, split into what is learned and what is predicted."""

    known: list[str]
    known_lengths: Lengths  # [prompts, samples]
    asked: list[str]
    asked_lengths: Lengths  # [prompts, samples]


def read(name: str) -> list[dict[str, object]]:
    """Rows of one file of the data folder."""
    with gzip.open(DATA / name, "rt") as lines:
        return [json.loads(line) for line in lines]


def five_fold(prompts: list[str], lengths: Lengths) -> Iterator[Trial]:
    """Every prompt is predicted once, by the other four fifths."""
    order = np.random.default_rng(0).permutation(len(prompts))
    for asked in np.array_split(order, 5):
        known = np.setdiff1d(order, asked)
        yield Trial(
            [prompts[i] for i in known], lengths[known], [prompts[i] for i in asked], lengths[asked]
        )


def crps(pmfs: Floats, tokens: Lengths) -> Floats:
    """Score of pmfs[n, m] for lengths tokens[n, s], as [n, s]."""
    left, right = np.concatenate(([0.0], GRID.edges[:-1])), GRID.edges
    below = np.concatenate((np.zeros((len(pmfs), 1)), np.cumsum(pmfs, axis=1)[:, :-1]), axis=1)
    split = np.clip(tokens[..., np.newaxis], left, right)  # [n, s, m]
    p = below[:, np.newaxis, :]
    scores: Floats = (p**2 * (split - left) + (1.0 - p) ** 2 * (right - split)).sum(axis=-1)
    return scores


def kendall_tau(first: Floats, second: Floats, most: int = 1500) -> float:
    """Tau-b over at most `most` random members; 0 where one side is constant."""
    some = np.random.default_rng(0).permutation(len(first))[:most]
    a, b = (np.sign(x[some, np.newaxis] - x[some]) for x in (first, second))
    pairs = np.sqrt(np.count_nonzero(a) * np.count_nonzero(b))
    return float((a * b).sum() / pairs) if pairs else 0.0


def run(trials: list[Trial], make: Callable[[], LengthPredictor]) -> Score:
    """Mean score over trials."""
    scores, means, real = [], [], []
    for trial in trials:
        predictor = make()
        vectors = np.repeat(predictor.embed(trial.known), trial.known_lengths.shape[1], axis=0)
        for i in np.random.default_rng(1).permutation(len(vectors)):
            predictor.record(vectors[i], int(trial.known_lengths.ravel()[i]), finished=True)
        predictions = predictor.predict_from(predictor.embed(trial.asked))
        scores.append(crps(np.stack([p.pmf for p in predictions]), trial.asked_lengths).ravel())
        means.append(np.repeat([p.mean() for p in predictions], trial.asked_lengths.shape[1]))
        real.append(trial.asked_lengths.ravel())
    # Rounded: differences far below a token order nothing.
    tau = kendall_tau(np.concatenate(means).round(3), np.concatenate(real).astype(np.float64))
    return float(np.concatenate(scores).mean()), tau


def datasets() -> dict[str, list[Trial]]:
    """The columns of the table."""
    alpaca, code = (
        read(f"{name}.jsonl.gz")
        for name in ("alpaca_eval_lengths", "codet_humaneval_100samples")
    )  # fmt: skip
    columns = {}
    for model in ("Meta-Llama-3-8B-Instruct", "gpt-3.5-turbo-1106"):
        lengths = np.array([[row["output_tokens"][model]] for row in alpaca])  # type: ignore[index]
        columns[model] = list(five_fold([str(row["prompt"]) for row in alpaca], lengths))
    prompts = [str(row["prompt"]) for row in code]
    samples: Lengths = np.array([row["output_tokens"] for row in code])
    columns["CodeT, new prompts"] = list(five_fold(prompts, samples[:, :SAMPLES]))
    seen = Trial(prompts, samples[:, :SAMPLES], prompts, samples[:, -SAMPLES:])
    columns["CodeT, known prompts"] = [seen]
    return columns


def variants() -> dict[str, Callable[[], LengthPredictor]]:
    """The rows of the table."""
    words, hashed = make_embedder("wordllama"), make_embedder("hashed")
    ours = PredictorConfig()
    # A gap that is never reached leaves nothing of the neighbours.
    prior_only = replace(ours, full_trust_gap=1e12)
    flat = replace(
        ours,
        neighbours=30,
        sharpness=1e-9,
        trend_weight=0.0,
        full_trust_gap=1e-9,
        length_weight=0.0,
    )
    return {
        "history-wide prior": lambda: LengthPredictor(words, GRID, config=prior_only),
        "top 30, equal weights": lambda: LengthPredictor(words, GRID, config=flat),
        "ours without prompt length": lambda: LengthPredictor(
            words, GRID, config=replace(ours, length_weight=0.0)
        ),
        "ours, hashed words": lambda: LengthPredictor(hashed, GRID),
        "ours": lambda: LengthPredictor(words, GRID),
    }


def time_predictions() -> str:
    """Milliseconds of a prediction with a full history."""
    predictor = LengthPredictor(make_embedder("wordllama"), GRID)
    rng = np.random.default_rng(0)
    for row in rng.normal(size=(10_000, predictor.dim)).astype(np.float32):
        predictor.record(row, int(rng.lognormal(5, 1)), finished=True)
    parts = []
    for batch in (1, 64):
        texts = ["Write a long story about the sea. " * 30] * batch
        start = time.perf_counter()
        for _ in range(5):
            vectors = predictor.embed(texts)
        middle = time.perf_counter()
        for _ in range(5):
            predictor.predict_from(vectors)
        end = time.perf_counter()
        embed, predict = ((b - a) / (5 * batch) * 1e3 for a, b in ((start, middle), (middle, end)))
        parts.append(f"batch of {batch}: embed {embed:.2f} ms, predict {predict:.2f} ms per prompt")
    return "; ".join(parts)


def main() -> int:
    """Print the table."""
    if not DATA.exists():
        print(f"no data: the shared folder with {DATA.name}/ is not beside the repository")
        return 1
    columns = datasets()
    print("| CRPS (tau) | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name, make in variants().items():
        scores = [run(trials, make) for trials in columns.values()]
        print(f"| {name} | " + " | ".join(f"{c:.1f} ({t:.2f})" for c, t in scores) + " |")
    print(
        f"\n10,000 records, 1,000-character prompts, {platform.processor() or platform.machine()}:"
    )
    print(time_predictions())
    return 0


if __name__ == "__main__":
    sys.exit(main())
