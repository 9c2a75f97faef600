"""How well prompts tell output lengths, on real lengths and on traffic that changes.

    PYTHONPATH=. python -m bench.bench_predict [--quick] [--json FILE] [--markdown FILE]

Needs the folder of data sets beside the repository (or --data), and scikit-learn for the trees.
Every method learns request by request and is asked about requests it has not learned. Data sets:

    alpaca_eval_lengths             805 prompts, 8 models: 5 folds by prompt, each model by itself
    codet_humaneval_100samples      10 draws of each prompt learned, 40 others asked
    game24_gpt4_100samples          50 draws of each prompt learned, 50 others asked: the prompt
                                    tells nothing
    sharegpt_turns_aibrix           chat turns in order of time: asked, then learned
    task_families                   the demo's requests: 300 learned, 600 asked, 3 times
    drift_lengths, drift_model      generated, in order of time; at half time all lengths double,
                                    unannounced, or as a model of another name
    drift_tenant                    at half time a tenant with other tasks joins

Beside these: learned from the chat turns and asked about alpaca_eval, and the other way round; and
what it costs to embed only the head and the tail of a long prompt.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from bench.bench_index import commit
from bench.predict.data import (
    DATA,
    TURNS,
    Drift,
    Split,
    generated,
    real,
    task_families,
    transferred,
    turns,
)
from bench.predict.latency import measure
from bench.predict.sampling import sampling
from bench.predict.tables import markdown
from sagesched.bench.machine import hardware
from sagesched.evaluate.methods import METHODS, Method, Request
from sagesched.evaluate.replay import replay
from sagesched.evaluate.scoring import Score, score
from sagesched.lengths import LengthGrid
from sagesched.predict import make_embedder
from sagesched.predict.base import Embedder

GRID = LengthGrid(8192)
WARM_UP = 300
"""Requests of a stream that are learned and not scored."""
AFTER_DRIFT = 500
REAL = ("alpaca_eval_lengths", "codet_humaneval_100samples", "game24_gpt4_100samples")
SIZES = (1_000, 10_000, 100_000)

Make = Callable[[], Method]


def of_splits(splits: list[Split], make: Make) -> dict[str, object]:
    """Scores of a data set of splits: by group, and the mean over groups."""
    by_group: dict[str, Score] = {}
    for group in dict.fromkeys(split.group for split in splits):
        laws, lengths = [], []
        for split in splits:
            if split.group != group:
                continue
            method = make()
            for vector, tokens in split.learned():
                method.learn(Request(vector), tokens)
            found = method.predict([Request(vector) for vector in split.asked])
            laws.append(np.repeat(found, split.asked_lengths.shape[1], axis=0))
            lengths.append(split.asked_lengths.ravel())
        by_group[group] = score(GRID, np.concatenate(laws), np.concatenate(lengths))
    scores = [asdict(found) for found in by_group.values()]
    means = {key: float(np.mean([s[key] for s in scores])) for key in scores[0]}
    means["n"] = sum(s["n"] for s in scores)
    return {**means, "by_group": {group: asdict(found) for group, found in by_group.items()}}


def of_stream(drift: Drift, make: Make) -> dict[str, object]:
    """Scores of a data set in order of time: every request is asked, then learned."""
    columns = replay(drift.stream, make(), GRID)
    scores: dict[str, object] = asdict(columns[WARM_UP:].score())
    if drift.at:
        end = drift.at + AFTER_DRIFT
        scores["first_500_after_drift"] = asdict(columns[drift.at : end].score())
        scores["next_500"] = asdict(columns[end : end + AFTER_DRIFT].score())
    return scores


def draws(embedder: Embedder, folder: Path) -> dict[str, dict[str, float]]:
    """CodeT: CRPS after n draws of each prompt, over that of the law of 60 draws."""
    full = real("codet_humaneval_100samples", folder, embedder, draws=60)[0]
    laws = np.stack(
        [np.bincount([GRID.bin_of(t) for t in row], minlength=len(GRID)) / len(row)
         for row in full.known_lengths]
    )  # fmt: skip
    repeated = np.repeat(laws, full.asked_lengths.shape[1], axis=0)
    best = score(GRID, repeated, full.asked_lengths.ravel()).crps
    table = {}
    for n in (3, 10, 40):
        split = real("codet_humaneval_100samples", folder, embedder, draws=n)
        ours = of_splits(split, lambda: METHODS["sagesched"](embedder, GRID))
        plain = np.stack(
            [np.bincount([GRID.bin_of(t) for t in row], minlength=len(GRID)) / len(row)
             for row in split[0].known_lengths]
        )  # fmt: skip
        alone = score(
            GRID, np.repeat(plain, full.asked_lengths.shape[1], axis=0), full.asked_lengths.ravel()
        )
        table[str(n)] = {"sagesched": float(ours["crps"]) / best, "plain": alone.crps / best}  # type: ignore[arg-type]
    return table


def run(options: argparse.Namespace) -> int:
    """All data sets, all methods."""
    embedder = make_embedder("wordllama")
    methods = dict(METHODS)
    try:
        METHODS["gbm"](embedder, GRID)
    except ImportError:
        print("gbm: left out, scikit-learn is not installed", file=sys.stderr)
        del methods["gbm"]
    document: dict[str, object] = {
        "about": {"commit": commit(), "on": hardware(), "embedder": embedder.name}
    }
    splits = {name: real(name, options.data, embedder) for name in REAL}
    splits["task_families"] = task_families(embedder)
    streams = {TURNS: Drift(turns(options.data, embedder))}
    streams |= generated(embedder, 600 if options.quick else 3000)
    between = transferred(options.data, embedder)

    def made(name: str) -> Make:
        return lambda: methods[name](embedder, GRID)

    def each(
        name: str, scores: Callable[[Make], dict[str, object]]
    ) -> dict[str, dict[str, object]]:
        found = {}
        for method in methods:
            print(f"{name}: {method}", file=sys.stderr, flush=True)
            found[method] = scores(made(method))
        return found

    datasets = {name: each(name, partial(of_splits, split)) for name, split in splits.items()}
    datasets |= {name: each(name, partial(of_stream, drift)) for name, drift in streams.items()}
    document["datasets"] = datasets
    document["transfer"] = {
        name: each(name, partial(of_splits, split)) for name, split in between.items()
    }
    document["sampling"] = sampling(embedder, options.data, GRID, WARM_UP)
    document["codet_draws"] = draws(embedder, options.data)
    scaling = {}
    for size in SIZES[:2] if options.quick else SIZES:
        print(f"latency: {size} records", file=sys.stderr, flush=True)
        scaling[str(size)] = measure(embedder, GRID, size)
    main = scaling["10000"]
    document |= {"latency_us": main["latency_us"], "rss_mb": main["rss_mb"], "scaling": scaling}
    text = markdown(document)
    print(text, end="")
    if options.json:
        options.json.write_text(json.dumps(document, indent=1))
    if options.markdown:
        options.markdown.write_text(text)
    return 0


def main() -> int:
    """Parse the flags and run."""
    parser = argparse.ArgumentParser(description="Compare length predictors.")
    parser.add_argument("--quick", action="store_true", help="shorter streams, no 100,000 records")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="write the tables")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"bench_predict: no folder {options.data}; name it with --data", file=sys.stderr)
        return 2
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
