"""Shared by the tests of the prediction service: an embedder that obeys, and patience."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from sagesched.lengths import LengthGrid
from sagesched.predict import LengthPredictor, PredictionService, ServiceStats
from sagesched.predict.base import Vectors
from sagesched.predict.hashed import HashedEmbedder

GRID = LengthGrid(4096)
PATIENT = 30.0  # seconds: a deadline that is never the reason


class ScriptedEmbedder(HashedEmbedder):
    """Hashed words; "boom" raises, and while `gate` is closed nothing gets through."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.batches: list[int] = []

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.batches.append(len(texts))
        self.entered.set()
        assert self.gate.wait(PATIENT)
        for text in texts:
            if "boom" in text:
                raise RuntimeError(f"cannot embed {text!r}")
        return super().embed(texts)


@pytest.fixture
def embedder() -> ScriptedEmbedder:
    return ScriptedEmbedder()


@pytest.fixture
def make_service(embedder: ScriptedEmbedder) -> Iterator[Callable[..., PredictionService]]:
    made: list[PredictionService] = []

    def make(**options: float) -> PredictionService:
        service = PredictionService(lambda: LengthPredictor(embedder, GRID), **options)  # type: ignore[arg-type]
        made.append(service)
        assert service.wait_ready(PATIENT)
        return service

    yield make
    embedder.gate.set()
    for service in made:
        service.close()


def settled(
    service: PredictionService, condition: Callable[[ServiceStats], bool] = lambda _: True
) -> ServiceStats:
    """The counters once the worker has nothing left to do and `condition` holds."""
    give_up = time.monotonic() + PATIENT
    while time.monotonic() < give_up:
        stats = service.snapshot()
        if not stats.busy and condition(stats):
            return stats
        time.sleep(0.002)
    raise AssertionError(f"not settled: {service.snapshot()}")
