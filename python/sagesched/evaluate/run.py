"""An evaluation, from its settings to its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sagesched._version import __version__
from sagesched.evaluate.data import DataError, Reading, read_rows
from sagesched.evaluate.embedding import stream_of
from sagesched.evaluate.methods import METHODS, Method
from sagesched.evaluate.replay import replay
from sagesched.evaluate.result import Result
from sagesched.evaluate.scoring import Lengths
from sagesched.evaluate.stream import Stream, due_after, due_by_time
from sagesched.lengths import LengthGrid
from sagesched.predict import make_embedder
from sagesched.predict.base import Embedder

Progress = Callable[[str, int, int], None]
"""Told what is done, how much of it, and of how much."""


@dataclass(frozen=True)
class Settings:
    """What to evaluate, and how.

    Attributes:
        data, history: the file; exactly one of them.
        limit: the first so many requests only; None for all.
        warmup: the first so many of them are learned and not scored.
        methods: names in `METHODS`, in the order of the tables.
        lag: a request is learned this many requests after the next one; None: by its end.
        embedder: a name; of a history, whose records to take.
        context_length: tokens; a longer output counts as that long.
        skip_bad: leave bad lines out.
    """

    data: Path | None = None
    history: Path | None = None
    limit: int | None = None
    warmup: int = 0
    methods: tuple[str, ...] = tuple(METHODS)
    lag: int | None = None
    embedder: str = "auto"
    context_length: int = 32_768
    skip_bad: bool = False


def evaluate(settings: Settings, progress: Progress = lambda what, done, total: None) -> Result:
    """Replay the requests with every method.

    Raises:
        DataError: the data cannot be used.
        ImportError: the embedder is not installed.
    """
    notes: list[str] = []
    stream, embedder = _load(settings, notes, progress)
    grid = LengthGrid(settings.context_length)
    made = _methods(settings.methods, embedder, grid, notes)
    due = due_by_time(stream) if settings.lag is None else due_after(stream, settings.lag)
    scored = stream.scored & (np.arange(len(stream)) >= settings.warmup)
    if not scored.any():
        raise DataError(f"nothing to score: {len(stream)} requests, --warmup {settings.warmup}, "
                        f"{int(stream.scored.sum())} of known length")  # fmt: skip
    notes += _about(stream, due, settings)
    which = np.flatnonzero(scored)
    result = Result(
        _settings(settings, embedder, len(stream)),
        notes,
        [stream.groups[i] for i in which],
        [stream.tenants[i] for i in which],
    )
    for name, method in made.items():

        def show(done: int, name: str = name) -> None:
            progress(name, done, len(stream))

        result.columns[name] = replay(stream, method, grid, due, show)[scored]
    return result


def _load(settings: Settings, notes: list[str], progress: Progress) -> tuple[Stream, Embedder]:
    if settings.history is not None:
        from sagesched.evaluate.history import read_history

        stream, embedder = read_history(settings.history, notes, settings.embedder)
        return (stream[: settings.limit] if settings.limit else stream), embedder
    if settings.data is None:
        raise ValueError("evaluate: needs data or history")
    reading = Reading(settings.skip_bad)
    rows = read_rows(settings.data, reading)[: settings.limit]
    notes += reading.notes()
    embedder = make_embedder(settings.embedder)

    def show(done: int, total: int) -> None:
        progress("prompts embedded", done, total)

    return stream_of(rows, embedder, show), embedder


def _methods(
    names: tuple[str, ...], embedder: Embedder, grid: LengthGrid, notes: list[str]
) -> dict[str, Method]:
    made: dict[str, Method] = {}
    for name in names:
        try:
            made[name] = METHODS[name](embedder, grid)
        except ModuleNotFoundError as error:
            if error.name is None or not error.name.startswith("sklearn"):
                raise
            notes.append(f"{name} left out: it needs scikit-learn (pip install scikit-learn)")
    if not made:
        raise DataError("; ".join(notes[-len(names) :]))
    return made


def _about(stream: Stream, due: Lengths, settings: Settings) -> list[str]:
    notes = ["each request was learned before the next one: arrivals and ends are not known"]
    if settings.lag is not None or (stream.finish_s is not None and stream.arrival_s is not None):
        behind = float((due - np.arange(1, len(stream) + 1)).mean())
        notes = [f"each request was learned {behind:.1f} requests after the next one (mean)"]
    if cut := int((~stream.scored).sum()):
        notes.append(f"cut off before they ended: learned as longer than that, not scored: {cut}")
    if limited := int((stream.scored & ~stream.finished).sum()):
        notes.append(f"stopped at their own limit, to which all predictions are cut: {limited}")
    if longer := int((stream.lengths > settings.context_length).sum()):
        notes.append(
            f"longer than --context-length, counted as {settings.context_length}: {longer}"
        )
    return notes


def _settings(settings: Settings, embedder: Embedder, n: int) -> dict[str, str]:
    file = settings.history or settings.data
    return {
        "file": file.name if file else "",
        "requests": str(n),
        **({"not scored at first": str(settings.warmup)} if settings.warmup else {}),
        "embedder": embedder.name,
        "context length": str(settings.context_length),
        "sagesched": __version__,
    }
