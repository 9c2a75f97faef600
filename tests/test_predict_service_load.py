"""The prediction service under load and at its ends: an event loop that keeps running."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from sagesched.predict import LengthPredictor, PredictionService, make_embedder

from .prediction import GRID, PATIENT, ScriptedEmbedder, embedder, make_service, settled

__all__ = ["embedder", "make_service"]


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


def test_it_is_busy_until_everything_is_counted(
    make_service: Callable[..., PredictionService], embedder: ScriptedEmbedder
) -> None:
    """Also while the worker has the last operations in hand, and none waits."""
    service = make_service(deadline_s=PATIENT)

    async def serve() -> None:
        embedder.gate.clear()
        task = asyncio.create_task(service.predict("a", "text"))
        await asyncio.to_thread(embedder.entered.wait, PATIENT)
        stats = service.snapshot()
        assert (stats.busy, stats.pending, stats.remembered_keys) == (True, 0, 0)
        embedder.gate.set()
        await task

    asyncio.run(serve())
    service.finish("a", 3, finished=True)
    assert settled(service).recorded == 1


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
    assert stats.failure.startswith("OSError at test_predict_service_load.py:")
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
