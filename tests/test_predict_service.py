"""The prediction service: deadlines, failures, keys, and an event loop that keeps running."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from sagesched.lengths import LengthGrid
from sagesched.predict import LengthPredictor, PredictionService, ServiceStats, make_embedder
from sagesched.predict.base import Vectors
from sagesched.predict.errors import ErrorLog
from sagesched.predict.handler import OperationHandler
from sagesched.predict.hashed import HashedEmbedder
from sagesched.predict.operations import Alias, Finish, Forget, Prompt
from sagesched.predict.stats import Counters

GRID = LengthGrid(4096)
SECRET = "my password is swordfish"
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
        if stats.pending == 0 and condition(stats):
            return stats
        time.sleep(0.002)
    raise AssertionError(f"not settled: {service.snapshot()}")


def test_what_finishes_is_learned(make_service: Callable[..., PredictionService]) -> None:
    service = make_service(deadline_s=PATIENT)

    async def serve() -> list[float]:
        medians = []
        for n in range(60):
            text, tokens = (f"say hi {n}", 10) if n % 2 else (f"write an essay {n}", 1000)
            prediction = await service.predict(str(n), text)
            assert prediction is not None
            medians.append(prediction.quantile(0.5))
            service.finish(str(n), tokens, finished=True)
        return medians

    medians = asyncio.run(serve())
    assert max(medians[51::2]) <= 16
    assert min(medians[50::2]) >= 500
    stats = settled(service, lambda stats: stats.recorded == 60)
    assert (stats.predictions, stats.history_size, stats.remembered_keys) == (60, 60, 0)
    assert (stats.errors, stats.deadline_misses, stats.unknown) == (0, 0, 0)
    assert stats.embedder == "hashed"


def test_a_late_prediction_is_none_and_still_learned(
    make_service: Callable[..., PredictionService], embedder: ScriptedEmbedder
) -> None:
    service = make_service(deadline_s=0.01)
    embedder.gate.clear()
    assert asyncio.run(service.predict("late", "some prompt")) is None
    assert service.snapshot().deadline_misses == 1
    service.finish("late", 77, finished=True)  # before its prompt is embedded
    embedder.gate.set()
    stats = settled(service, lambda stats: stats.recorded == 1)
    assert (stats.unknown, stats.predictions) == (0, 0)


def test_an_error_costs_one_request_only(
    make_service: Callable[..., PredictionService],
    embedder: ScriptedEmbedder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = make_service(deadline_s=PATIENT)

    async def serve() -> list[object]:
        embedder.gate.clear()
        first = asyncio.create_task(service.predict("first", "warm"))
        await asyncio.to_thread(embedder.entered.wait, PATIENT)
        # These three wait together, so they become one batch.
        texts = ["fine", f"boom {SECRET}", "boom again", "also fine"]
        tasks = [asyncio.create_task(service.predict(text, text)) for text in texts]
        await asyncio.sleep(0)
        embedder.gate.set()
        return await asyncio.gather(first, *tasks)

    with caplog.at_level(logging.WARNING):
        results = asyncio.run(serve())
    assert [result is None for result in results] == [False, False, True, True, False]
    assert 4 in embedder.batches
    assert service.snapshot().errors == 2
    assert len(caplog.records) == 1
    assert "RuntimeError" in caplog.text
    assert SECRET not in caplog.text


def test_bad_outcomes_are_counted(make_service: Callable[..., PredictionService]) -> None:
    service = make_service(deadline_s=PATIENT)
    asyncio.run(service.predict("a", "text"))
    service.finish("a", -5, finished=True)
    service.finish("never seen", 5, finished=True)
    stats = settled(service, lambda stats: stats.unknown == 1)
    assert (stats.errors, stats.recorded) == (1, 0)
    assert asyncio.run(service.predict("b", "text")) is not None


def test_alias_forget_and_censoring(make_service: Callable[..., PredictionService]) -> None:
    service = make_service(deadline_s=PATIENT)
    asyncio.run(service.predict("prompt", "text"))
    service.alias("sample 1", "prompt")
    service.alias("sample 2", "prompt")
    service.alias("sample 3", "no such prompt")
    service.forget("prompt")
    service.forget("prompt")
    service.finish("prompt", 5, finished=True)
    service.finish("sample 1", 5, finished=True)
    service.finish("sample 1", 5, finished=True)
    service.finish("sample 2", 5, finished=False)
    stats = settled(service, lambda stats: stats.recorded == 2)
    assert (stats.censored, stats.unknown, stats.remembered_keys) == (1, 3, 0)


def test_a_full_queue_refuses_at_once(
    make_service: Callable[..., PredictionService], embedder: ScriptedEmbedder
) -> None:
    service = make_service(deadline_s=PATIENT, max_pending=2)

    async def serve() -> list[object]:
        embedder.gate.clear()
        tasks = [asyncio.create_task(service.predict("0", "first"))]
        await asyncio.to_thread(embedder.entered.wait, PATIENT)
        tasks += [asyncio.create_task(service.predict(str(n), "text")) for n in (1, 2, 3)]
        refused = await tasks[3]  # while the others still wait
        assert not any(task.done() for task in tasks[:3])
        embedder.gate.set()
        return [*await asyncio.gather(*tasks[:3]), refused]

    results = asyncio.run(serve())
    assert [result is None for result in results] == [False, False, False, True]
    assert service.snapshot().overloaded == 1


def test_the_event_loop_keeps_ticking(
    make_service: Callable[..., PredictionService], embedder: ScriptedEmbedder
) -> None:
    service = make_service(deadline_s=PATIENT)

    async def serve() -> int:
        embedder.gate.clear()  # the worker is stuck with all of them
        tasks = [asyncio.create_task(service.predict(str(n), "text " * n)) for n in range(200)]
        ticks = 0
        for _ in range(100):
            await asyncio.sleep(0.001)
            ticks += 1
        assert not any(task.done() for task in tasks)
        embedder.gate.set()
        assert None not in await asyncio.gather(*tasks)
        return ticks

    assert asyncio.run(serve()) == 100
    assert max(embedder.batches) <= 64
    assert len(embedder.batches) <= 10


def test_a_cancelled_request_harms_nobody(
    make_service: Callable[..., PredictionService], embedder: ScriptedEmbedder
) -> None:
    service = make_service(deadline_s=PATIENT)

    async def serve() -> None:
        embedder.gate.clear()
        task = asyncio.create_task(service.predict("gone", "text"))
        await asyncio.to_thread(embedder.entered.wait, PATIENT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        embedder.gate.set()
        assert await service.predict("next", "text") is not None

    asyncio.run(serve())
    service.finish("gone", 3, finished=False)
    assert settled(service, lambda stats: stats.recorded == 1).errors == 0


def test_a_loop_that_has_closed_harms_nobody(
    make_service: Callable[..., PredictionService], embedder: ScriptedEmbedder
) -> None:
    service = make_service(deadline_s=PATIENT)
    abandoned: list[asyncio.Task[object]] = []

    async def leave() -> None:
        embedder.gate.clear()
        abandoned.append(asyncio.create_task(service.predict("a", "text")))
        await asyncio.to_thread(embedder.entered.wait, PATIENT)

    asyncio.run(leave())  # cancels the task and closes the loop
    embedder.gate.set()
    assert settled(service, lambda stats: stats.remembered_keys == 1).errors == 0
    assert asyncio.run(service.predict("b", "text")) is not None


def test_before_it_is_ready_nobody_waits() -> None:
    gate = threading.Event()

    def slow_to_load() -> LengthPredictor:
        assert gate.wait(PATIENT)
        return LengthPredictor(make_embedder("hashed"), GRID)

    service = PredictionService(slow_to_load, deadline_s=PATIENT)
    assert not service.wait_ready(timeout=0.01)
    assert asyncio.run(service.predict("early", "text")) is None
    service.finish("early", 9, finished=True)
    gate.set()
    assert service.wait_ready(PATIENT)
    stats = settled(service, lambda stats: stats.recorded == 1)  # learned all the same
    assert (stats.not_ready, stats.deadline_misses) == (1, 0)
    service.close()


def test_a_predictor_that_cannot_be_built(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> LengthPredictor:
        raise OSError("no such weights")

    service = PredictionService(broken)
    assert not service.wait_ready(PATIENT)
    assert asyncio.run(service.predict("a", "text")) is None
    service.finish("a", 1, finished=True)
    stats = service.snapshot()
    assert (stats.errors, stats.not_ready, stats.pending) == (1, 1, 0)
    assert stats.failure.startswith("OSError at test_predict_service.py:")
    assert "building the predictor failed" in caplog.text
    service.close()


def test_close_answers_who_waits_and_ends_the_thread(
    make_service: Callable[..., PredictionService], embedder: ScriptedEmbedder
) -> None:
    service = make_service(deadline_s=PATIENT)

    async def serve() -> object:
        embedder.gate.clear()
        stuck = asyncio.create_task(service.predict("stuck", "text"))
        await asyncio.to_thread(embedder.entered.wait, PATIENT)
        waiting = asyncio.create_task(service.predict("waiting", "text"))
        await asyncio.sleep(0)
        service.close(timeout=0.01)
        result = await waiting
        embedder.gate.set()
        await stuck
        return result

    assert asyncio.run(serve()) is None
    service.close()
    service.close()
    assert not service.ready()
    assert asyncio.run(service.predict("after", "text")) is None


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="deadline_s"):
        PredictionService(lambda: LengthPredictor(make_embedder("hashed"), GRID), deadline_s=0.0)


def test_remembered_keys_are_bounded() -> None:
    counters = Counters()
    predictor = LengthPredictor(make_embedder("hashed"), GRID)
    handler = OperationHandler(predictor, counters, ErrorLog(counters), max_keys=3)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        handler.handle(
            [Prompt(str(n), "text", time.monotonic(), loop, loop.create_future()) for n in range(4)]
        )
        handler.handle([Alias("4", "3"), Forget("2")])
        assert handler.remembered_keys == 2  # 0 and 1 were the oldest, 2 was forgotten
        handler.handle([Finish(str(n), 5, True) for n in range(5)])

    asyncio.run(serve())
    assert handler.remembered_keys == 0
    assert handler.history_size == 2
