"""Shared by the tests of the history file: a service that keeps one, and a look into it."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagesched.predict import HistoryOptions, LengthPredictor, PredictionService
from sagesched.predict.about import About
from sagesched.predict.base import Embedder
from sagesched.predict.hashed import HashedEmbedder
from sagesched.predict.stats import Counters
from sagesched.predict.store.keeper import HistoryKeeper
from sagesched.predict.store.record import Space

from .prediction import GRID, PATIENT, settled

PROBES = ("say hi to 3", "write an essay on 7", "something else", "")


def open_service(
    path: Path, embedder: Embedder | None = None, capacity: int = 1000, **options: Any
) -> PredictionService:
    """Ready to predict, with what the file holds."""
    service = PredictionService(
        lambda: LengthPredictor(embedder or HashedEmbedder(), GRID, capacity),
        deadline_s=PATIENT,
        history=HistoryOptions(path, capacity, **options),
    )
    assert service.wait_ready(PATIENT)
    return service


def teach(service: PredictionService, numbers: Sequence[int], about: About | None = None) -> None:
    """Requests whose length follows from their prompt, in order, one after the other."""
    before = service.snapshot().recorded

    async def serve() -> None:
        for n in numbers:
            text, tokens = (
                (f"say hi to {n}", 10 + n % 5) if n % 2 else (f"write an essay on {n}", 900)
            )
            await service.predict(str(n), text, about or About())
            service.finish(str(n), tokens, finished=n % 7 != 0)

    asyncio.run(serve())
    settled(service, lambda stats: stats.recorded == before + len(numbers))


def predictions(service: PredictionService) -> list[NDArray[np.float64]]:
    """Of some prompts, known and unknown ones."""

    async def ask() -> list[NDArray[np.float64]]:
        found = []
        for text in PROBES:
            prediction = await service.predict(text, text)
            assert prediction is not None
            service.forget(text)
            found.append(prediction.pmf)
        return found

    return asyncio.run(ask())


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """What SQLite itself finds in a file."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def count(path: Path) -> int:
    """Records in a file."""
    return int(rows(path, "SELECT count(*) FROM records")[0][0])


def wait_until(condition: Callable[[], bool]) -> None:
    """Patiently."""
    give_up = time.monotonic() + PATIENT
    while not condition():
        assert time.monotonic() < give_up, "it never happened"
        time.sleep(0.01)


class NoWorker:
    """What `Counters.snapshot` reads of a worker, where there is none."""

    embedder = failure = history_failure = ""
    history_size = remembered_keys = pending = history_waiting = 0
    busy = False


def make_keeper(path: Path, counters: Counters | None = None, capacity: int = 100) -> HistoryKeeper:
    """A keeper without a worker."""
    keeper = HistoryKeeper(HistoryOptions(path, capacity), Space("x", 4), counters or Counters())
    keeper.restore(lambda record: True)
    keeper.start(lambda learn: True)
    return keeper
