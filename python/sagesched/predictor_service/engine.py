"""The plug-in's prediction service, as the routes need it. No other file here calls it."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import uuid4

from sagesched.cost import CostModel
from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.predict import Embedder, PredictionService, ServiceStats
from sagesched.predict.about import About
from sagesched.predict.defaults import cold_start_pmf
from sagesched.predict.handler import MAX_REMEMBERED_KEYS
from sagesched.predict.store.options import HistoryOptions
from sagesched.predictor_service.answer import Answering
from sagesched.predictor_service.explained import Explained, ExplainingPredictor
from sagesched.predictor_service.schema import (
    Asked,
    FallbackLevel,
    Group,
    Health,
    KeyOutcome,
    Models,
    Prediction,
    PromptOutcome,
)

MOST_SHOWN = 5
MOST_PENDING = 32
"""Operations waiting from which on further outcomes wait outside: some milliseconds of work."""
PAUSE_S = 0.002


class NotReadyError(Exception):
    """The predictor is loading, could not be built, or has been closed."""


class UnknownKeysError(Exception):
    """Outcomes whose requests are not waited for; nothing was learned."""


@dataclass(frozen=True)
class EngineConfig:
    """What the operator sets.

    Attributes:
        grid: bins of the lengths; its maximum is the context length.
        cost: unit of `predicted_cost_p50`.
        capacity: finished requests to predict from.
        deadline_s: longest wait for a prediction.
        history: the file the history is kept in; memory only where absent.
    """

    grid: LengthGrid
    cost: CostModel
    capacity: int = 10_000
    deadline_s: float = 0.5
    history: HistoryOptions | None = None


class Engine:
    """Predicts, learns, and says how it is. All methods belong to the event loop; none computes
    what takes long.

    Args:
        config: see there.
        make_embedder: called in the service's thread.
    """

    def __init__(self, config: EngineConfig, make_embedder: Callable[[], Embedder]) -> None:
        self._config = config
        self._answering = Answering(config.grid, config.cost)
        self._nothing_known = LengthDistribution(config.grid, cold_start_pmf(config.grid))
        self._predictor: ExplainingPredictor | None = None
        self._make_embedder = make_embedder
        self._waiting: OrderedDict[str, None] = OrderedDict()  # keys without an outcome
        self._closed = False
        self._service = PredictionService(self._build, config.deadline_s, history=config.history)

    async def predict(self, asked: Sequence[Asked]) -> list[Prediction]:
        """An answer for each request, each with its key.

        Raises:
            NotReadyError: there is no predictor yet, or none any more.
        """
        self._require_ready()
        return await asyncio.gather(*map(self._predict, asked))

    async def ingest(self, outcomes: Sequence[KeyOutcome | PromptOutcome]) -> None:
        """Hand outcomes to the predictor: all, or none where an error is raised.

        Many of them go in slices, so that predictions need not wait for all.

        Raises:
            NotReadyError: there is no predictor yet, or none any more.
            UnknownKeysError: keys that were never given out, have had their outcome, or are too
                old.
        """
        self._require_ready()
        keys = [outcome.key for outcome in outcomes if isinstance(outcome, KeyOutcome)]
        self._take_off(keys)
        for outcome in outcomes:
            while self._service.snapshot().pending >= MOST_PENDING and not self._closed:
                await asyncio.sleep(PAUSE_S)
            self._tell(outcome)

    def models(self) -> Models:
        """What predictions are made from.

        Raises:
            NotReadyError: there is no predictor yet, or none any more.
        """
        self._require_ready()
        # One step for the interpreter: the service's thread may be counting.
        records = {} if self._predictor is None else dict(self._predictor.tally.groups)
        stats = self._service.snapshot()
        return Models(
            embedder=stats.embedder,
            records=stats.history_size,
            capacity=self._config.capacity,
            max_tokens=self._config.grid.max_tokens,
            models=[Group(model=name, records=records[name]) for name in sorted(records)],
        )

    def health(self) -> Health:
        """Whether predictions can be had."""
        if self._closed:
            return Health(status="stopped")
        if self._service.ready():
            return Health(status="ready")
        failure = self._service.snapshot().failure
        return Health(status="failed", reason=failure) if failure else Health(status="starting")

    def snapshot(self) -> ServiceStats:
        """The prediction service's counters."""
        return self._service.snapshot()

    def close(self) -> None:
        """Stop the service's thread."""
        self._closed = True
        self._service.close()

    def _build(self) -> ExplainingPredictor:
        config = self._config
        predictor = ExplainingPredictor(self._make_embedder(), config.grid, config.capacity)
        self._predictor = predictor
        return predictor

    def _require_ready(self) -> None:
        health = self.health()
        if health.status == "failed":
            raise NotReadyError(f"the predictor could not be built ({health.reason}); see the log")
        if health.status != "ready":
            raise NotReadyError(f"the predictor is {health.status}; try again in a moment")

    def _tell(self, outcome: KeyOutcome | PromptOutcome) -> None:
        if isinstance(outcome, KeyOutcome):
            key = outcome.key
        else:
            key = _new_key()
            self._service.remember(key, outcome.content(), _about(outcome))
        self._service.finish(key, outcome.output_tokens, outcome.finished)

    async def _predict(self, asked: Asked) -> Prediction:
        key, began = _new_key(), time.monotonic()
        self._waiting[key] = None
        if len(self._waiting) > MAX_REMEMBERED_KEYS:
            self._waiting.popitem(last=False)
        law = await self._service.predict(key, asked.content(), _about(asked))
        if isinstance(law, Explained):
            level = law.level
        else:
            late = time.monotonic() - began > 0.9 * self._config.deadline_s  # timers are coarse
            level = FallbackLevel.DEADLINE if late else FallbackLevel.UNAVAILABLE
        return self._answering.answer(key, asked, law or self._prior(asked.model), level)

    def _prior(self, group: str) -> LengthDistribution:
        """What was last expected of the group's requests; for who gets no prediction."""
        priors = {} if self._predictor is None else self._predictor.latest_priors
        return priors.get(group) or priors.get("") or self._nothing_known

    def _take_off(self, keys: Sequence[str]) -> None:
        unknown = [key for key in keys if key not in self._waiting]
        if unknown or len(set(keys)) < len(keys):
            shown = ", ".join(ascii(key) for key in unknown[:MOST_SHOWN]) or "a key given twice"
            raise UnknownKeysError(
                f"unknown: {shown}. A key is good for one outcome, and forgotten at a restart or "
                f"after {MAX_REMEMBERED_KEYS} later prompts; an outcome can also name its prompt. "
                "Nothing of this request was learned."
            )
        for key in keys:
            del self._waiting[key]


def _new_key() -> str:
    return uuid4().hex


def _about(asked: Asked) -> About:
    return About(asked.model, asked.tenant, asked.options())
