"""The prediction service: what it learns, what it counts, keys."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import pytest

from sagesched.predict import LengthPredictor, PredictionService, make_embedder
from sagesched.predict.errors import ErrorLog
from sagesched.predict.handler import OperationHandler
from sagesched.predict.operations import Alias, Finish, Forget, Prompt
from sagesched.predict.stats import Counters

from .prediction import GRID, PATIENT, ScriptedEmbedder, embedder, make_service, settled

__all__ = ["embedder", "make_service"]

SECRET = "my password is swordfish"


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
