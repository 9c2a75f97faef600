"""What the scheduler has for a front end without a ``TokenizerManager``: predictions for what comes
in, outcomes from what goes out (``hooks/front_end.py``)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from sagesched.plugin import metrics
from sagesched.plugin.hooks.outcome import end
from sagesched.plugin.hooks.predict_request import predict
from sagesched.plugin.state import TokenizerState
from sagesched.plugin.wire import attach

MOST = 100_000
"""Requests whose tokens are counted: of one that is aborted while it waits again no end is seen."""


@dataclass(frozen=True)
class FrontEnd:
    """In place of a ``TokenizerManager``'s state.

    Attributes:
        tokenizer: what the tokenizer process has elsewhere.
        entry: what the functions for its manager read there.
        loop: an event loop that runs while requests are predicted.
        produced: tokens of each request that has come so far; at most ``MOST``.
        only_prefills: whether outputs go on elsewhere, after their first token.
    """

    tokenizer: TokenizerState
    entry: Any
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    produced: dict[str, int] = field(default_factory=dict)
    only_prefills: Callable[[], bool] = bool

    def predict(self, received: Iterable[Any]) -> None:
        """Predict for all that are requests for text; what they carried in its place is dropped."""
        prompts = [
            request
            for one in received
            for request in getattr(one, "batch", [one])
            if getattr(request, "sampling_params", None) is not None
        ]
        for request in prompts:
            attach(request.sampling_params, None)
            self.produced.pop(request.rid, None)  # of one that was aborted while it waited
        if len(self.produced) >= MOST:
            self.produced.clear()
        prompts = [request for request in prompts if getattr(request, "input_ids", None)]
        if prompts:
            jobs = (predict(self.tokenizer, self.entry, request) for request in prompts)
            self.loop.run_until_complete(_all(jobs))

    def learn(self, output: Any) -> None:
        """Outcomes of a step; ``output_ids`` are those since a request's last one."""
        ended = False
        for rid, reason, ids in zip(
            output.rids, output.finished_reasons, output.output_ids or (), strict=False
        ):
            tokens = self.produced[rid] = self.produced.get(rid, 0) + len(ids)
            if reason is not None:
                ended = True
                del self.produced[rid]
                end(self.tokenizer, rid, tokens, reason, self.only_prefills())
            elif self.tokenizer.progress.has_doubled(rid, tokens):
                self.tokenizer.service.progress(rid, tokens)
        if ended:
            metrics.export_now(self.tokenizer.service, self.tokenizer.calibration)


async def _all(jobs: Iterable[Awaitable[None]]) -> None:
    await asyncio.gather(*jobs)


@dataclass
class Process:
    """What this process serves; SGLang has one scheduler in each, and frozen objects around it."""

    front_end: FrontEnd | None = None


PROCESS = Process()
