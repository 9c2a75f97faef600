"""Asks `sagesched predictor serve` how long an answer will be, and tells it how long it was."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio
import httpx

from sagesched.balance.request_body import Asked

MOST_TEXT = 32_768
"""Characters of a prompt that are sent: its head and its tail. They decide about the prediction."""
MOST_TELLING = 256
"""Outcomes on their way; further ones are dropped and counted."""

logger = logging.getLogger("sagesched.route")


@dataclass(frozen=True)
class Expected:
    """Tokens. ``key`` names the request when its outcome is told."""

    mean: float
    high: float
    key: str


class Predictor:
    """A client of the predictor service.

    Args:
        base: its address.
        client: HTTP.
        deadline_s: longest wait for a prediction.
        learn: whether outcomes are told.
        token: it asks for one beyond its own machine.

    Attributes:
        results: predictions by what became of them.
    """

    def __init__(
        self,
        base: str,
        client: httpx.AsyncClient,
        deadline_s: float,
        learn: bool = True,
        token: str | None = None,
    ) -> None:
        self._base = base.rstrip("/")
        self._client = client
        self._deadline_s = deadline_s
        self._learn = learn
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._telling: set[asyncio.Task[None]] = set()
        self._warned = False
        self.results = {"answered": 0, "deadline": 0, "failed": 0, "told": 0, "not_told": 0}

    async def ask(self, asked: Asked) -> Expected | None:
        """What is expected; None when there is no answer in time, which is counted."""
        try:
            with anyio.fail_after(self._deadline_s):
                answer = await self._post("/predict", _fields(asked))
            expected = read_prediction(answer)
        except TimeoutError:
            self.results["deadline"] += 1
            return None
        except Exception as error:  # whatever it answers, the request goes on
            self._failed("failed", error)
            return None
        self.results["answered"] += 1
        return expected

    def tell(self, key: str, output_tokens: int, finished: bool) -> None:
        """Send an outcome, beside everything else; it may be lost."""
        if not self._learn:
            return
        if len(self._telling) >= MOST_TELLING:
            self.results["not_told"] += 1
            return
        outcome = {"key": key, "output_tokens": output_tokens, "finished": finished}
        task = asyncio.get_running_loop().create_task(self._tell(outcome))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def close(self) -> None:
        """Let the outcomes that are on their way arrive."""
        await asyncio.gather(*self._telling)

    async def _tell(self, outcome: Mapping[str, Any]) -> None:
        try:
            await self._post("/ingest", outcome)
        except Exception as error:
            self._failed("not_told", error)
        else:
            self.results["told"] += 1

    async def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        answer = await self._client.post(
            self._base + path, json=body, headers=self._headers, timeout=5.0
        )
        return answer.raise_for_status().json()

    def _failed(self, result: str, error: Exception) -> None:
        self.results[result] += 1
        if not self._warned:
            self._warned = True
            status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else ""
            logger.warning(
                "the predictor does not answer (%s %s); further failures are only counted",
                type(error).__name__,
                status,
            )


def read_prediction(answer: Mapping[str, Any]) -> Expected:
    """Mean and 0.9 quantile of an answer of ``/predict``.

    The mean is that of the quantiles' trapezoids, the outermost quantiles held to 0 and 1, so a
    long tail counts with its 0.99 quantile.
    """
    steps = sorted((float(p), float(tokens)) for p, tokens in answer["quantiles"].items())
    points = [(0.0, steps[0][1]), *steps, (1.0, steps[-1][1])]
    pairs = itertools.pairwise(points)
    mean = sum((right - left) * (low + high) / 2 for (left, low), (right, high) in pairs)
    return Expected(mean, float(answer["expected_output_tokens_p90"]), str(answer["key"]))


def _fields(asked: Asked) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "prompt": _shortened(asked),
        "model": asked.model[:256],
        "structured": asked.structured,
        "tools": asked.tools,
        "prompt_tokens": asked.prompt_tokens,
    }
    if asked.max_new_tokens is not None:
        fields["max_new_tokens"] = int(asked.max_new_tokens)
    if asked.temperature is not None:
        fields["temperature"] = asked.temperature
    return fields


def _shortened(asked: Asked) -> Any:
    whole: Any = asked.ids or asked.text
    if len(whole) > MOST_TEXT:
        whole = whole[: MOST_TEXT // 2] + whole[-MOST_TEXT // 2 :]
    return whole if isinstance(whole, str) else list(whole)
