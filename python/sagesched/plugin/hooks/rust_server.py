"""SGLang's Rust front end (``SGLANG_RUST_SERVER=1``) runs no Python, so its requests are predicted
where they come into the scheduler: on the rank that hosts it, before they are sent to the others.

The scheduler's loop waits meanwhile, so it waits for a tenth of the deadline at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from sagesched.plugin import fallback, metrics
from sagesched.plugin.disaggregation import PREFILL, role_of
from sagesched.plugin.hook import Hook
from sagesched.plugin.hooks import tokenizer_start
from sagesched.plugin.hooks.outcome import end
from sagesched.plugin.hooks.predict_request import predict
from sagesched.plugin.settings import POLICY
from sagesched.plugin.state import STATE, TokenizerState, state_of

DEADLINE_SHARE = 0.1


@dataclass(frozen=True)
class RustState:
    """On SGLang's ``RustServer``.

    Attributes:
        tokenizer: what the tokenizer process has elsewhere.
        entry: what the functions for its manager read there.
        loop: an event loop that runs while requests are predicted.
        produced: tokens of each request that has come so far.
        only_prefills: whether outputs go on elsewhere, after their first token.
    """

    tokenizer: TokenizerState
    entry: Any
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    produced: dict[str, int] = field(default_factory=dict)
    only_prefills: Callable[[], bool] = bool

    def predict(self, received: list[Any]) -> None:
        """Predict for all that are requests for text; what they carried in its place is dropped."""
        prompts = [
            request
            for one in received
            for request in getattr(one, "batch", [one])
            if getattr(request, "sampling_params", None) is not None
            and getattr(request, "input_ids", None)
        ]
        if prompts:
            jobs = (predict(self.tokenizer, self.entry, request) for request in prompts)
            self.loop.run_until_complete(_all(jobs))

    def learn(self, output: Any) -> None:
        """Outcomes of a step; here it says what a request produced since the last one."""
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


def maybe_init_rust_server(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    """Start the prediction service on the rank that hosts the front end."""
    result = original(self, *args, **kwargs)
    server = getattr(self, "rust_server", None)
    if server is None or self.schedule_policy != POLICY:
        return result
    from sagesched.plugin.verify import settings_in_force  # it lists this hook, too

    settings = settings_in_force()
    settings = replace(settings, deadline_s=settings.deadline_s * DEADLINE_SHARE)
    entry = SimpleNamespace(
        is_generation=self.is_generation,
        model_config=self.model_config,
        model_path=self.model_config.model_path,
        rid_to_state={},
        served_model_name=self.server_args.served_model_name,
        server_args=self.server_args,
        tokenizer=getattr(self, "tokenizer", None),
    )
    made = tokenizer_start.make_state(settings, entry)
    rust = RustState(made, entry, only_prefills=lambda: role_of(self) == PREFILL)
    setattr(server, STATE, rust)
    return result


def drain(original: Any, self: Any, max_recv: int, *args: Any, **kwargs: Any) -> Any:
    """Take what came, and predict for it."""
    received = original(self, max_recv, *args, **kwargs)
    state: RustState | None = state_of(self)
    if state is not None and received:
        try:
            state.predict(received)
        except Exception as error:
            fallback.report("predict", error)
    return received


def push_generation(original: Any, self: Any, payload: Any, *args: Any, **kwargs: Any) -> Any:
    """Let SGLang send a step's outputs, then learn from those that ended."""
    result = original(self, payload, *args, **kwargs)
    state: RustState | None = state_of(self)
    if state is not None:
        try:
            state.learn(payload)
        except Exception as error:
            fallback.report("outcome", error)
    return result


START = Hook(
    target="sglang.srt.managers.scheduler.Scheduler.maybe_init_rust_server",
    fn=maybe_init_rust_server,
    reason="start the prediction service beside the Rust front end",
    parameters=("self",),
)
DRAIN = Hook(
    target="sglang.srt.rust_server.server.RustServer.drain",
    fn=drain,
    reason="predict requests of the Rust front end",
    parameters=("self", "max_recv"),
)
OUTPUT = Hook(
    target="sglang.srt.rust_server.server.RustServer.push_generation",
    fn=push_generation,
    reason="learn from requests of the Rust front end that finished",
    parameters=("self", "payload"),
)
