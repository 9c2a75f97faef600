"""The tokenizer's event loop gets its turn while predictions are made; and how that is measured."""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from bench.loop_probe import stretches
from bench.loop_probe.launch import OUTSIDE_HOOKS
from sagesched.plugin.hooks.tokenizer_start import SWITCH_INTERVAL_S, make_state
from sagesched.plugin.settings import read_settings
from sagesched.plugin.state import TokenizerState

from .prediction import PATIENT

MANAGER = SimpleNamespace(
    model_config=SimpleNamespace(context_len=4096),
    tokenizer=object(),
    model_path="",
    server_args=SimpleNamespace(dp_size=1, disaggregation_mode="null"),
)
BURST, BURSTS = 64, 3
PROMPT = "Explain the difference between two ideas, step by step, as clearly as possible. " * 28


@pytest.fixture
def state() -> Iterator[TokenizerState]:
    """What the plug-in starts in the tokenizer process."""
    before = sys.getswitchinterval()
    state = make_state(read_settings({"SAGESCHED_DEADLINE_MS": str(1e3 * PATIENT)}), MANAGER)
    yield state
    state.service.close()
    sys.setswitchinterval(before)


def test_the_plugin_lowers_the_switch_interval_and_never_raises_it(state: TokenizerState) -> None:
    assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL_S)
    sys.setswitchinterval(SWITCH_INTERVAL_S / 4)
    lower = sys.getswitchinterval()
    make_state(read_settings({}), MANAGER).service.close()
    assert sys.getswitchinterval() == pytest.approx(lower, abs=2e-6)  # kept in whole microseconds


def test_the_loop_ticks_while_bursts_are_predicted_and_learned(state: TokenizerState) -> None:
    lags: list[float] = []

    async def tick() -> None:
        while True:
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            lags.append(time.perf_counter() - start - 0.001)

    async def one(key: str) -> bool:
        predicted = await state.service.predict(key, f"{key} {PROMPT}")
        state.service.finish(key, 1 + len(key), finished=True)
        return predicted is not None

    async def serve() -> None:
        ticker = asyncio.create_task(tick())
        for burst in range(BURSTS):
            assert all(await asyncio.gather(*(one(f"{burst}-{n}") for n in range(BURST))))
        ticker.cancel()

    asyncio.run(serve())
    # A loop that waited for whole bursts would have a tick or two for each. Single ticks are late
    # on a busy machine, whatever we do.
    assert len(lags) >= 4 * BURSTS
    assert sorted(lags)[len(lags) // 2] < 0.05


def busy(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_stretches_are_measured_between_awaits_and_without_the_original() -> None:
    async def original() -> str:
        busy(0.05)
        await asyncio.sleep(0.001)
        return "done"

    async def hook(original: Any) -> str:
        busy(0.01)
        await asyncio.sleep(0.001)
        result = str(await original())
        busy(0.02)
        return result

    stretches.seconds.clear()
    assert asyncio.run(stretches.timed_hook("hook", hook)(original)) == "done"
    first, middle, last = stretches.seconds["hook"]
    assert 0.01 <= first < 0.04
    assert middle < 0.04
    assert 0.02 <= last < 0.05


def test_exceptions_and_cancellations_pass_through_what_is_measured() -> None:
    seen: list[str] = []

    async def hook(original: Any) -> None:
        try:
            await original()
        except BaseException as error:
            seen.append(type(error).__name__)
            raise

    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError

    async def drive() -> None:
        timed = stretches.timed_hook("hook", hook)
        with pytest.raises(KeyError):
            await timed(fails)
        task = asyncio.create_task(timed(lambda: asyncio.sleep(PATIENT)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(drive())
    assert seen == ["KeyError", "CancelledError"]


def test_the_probe_names_functions_that_exist() -> None:
    for module, function in OUTSIDE_HOOKS:
        assert callable(getattr(importlib.import_module(module), function)), (module, function)
