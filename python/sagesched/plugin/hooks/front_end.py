"""Front ends without SGLang's ``TokenizerManager``: the Rust server (``SGLANG_RUST_SERVER=1``), the
gRPC servers of smg (``--smg-grpc-mode``).

Their requests are predicted where they come into the scheduler: on the rank that receives them,
before they are sent to the others. The scheduler's loop waits meanwhile, so it waits for a tenth of
the deadline at most.
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
from sagesched.plugin.releases import is_receiving_rank
from sagesched.plugin.settings import predicts
from sagesched.plugin.state import TokenizerState
from sagesched.plugin.wire import attach

DEADLINE_SHARE = 0.1
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


def maybe_init_rust_server(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    """Start the prediction service on the rank that receives from such a front end."""
    result = original(self, *args, **kwargs)
    from sagesched.plugin.verify import is_wanted, settings_in_force  # it lists this hook, too

    policy = self.server_args.schedule_policy
    if not (_is_front_end(self) and is_wanted(policy) and predicts(policy)):
        return result
    settings = settings_in_force(policy)
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
    PROCESS.front_end = FrontEnd(made, entry, only_prefills=lambda: role_of(self) == PREFILL)
    return result


def _is_front_end(scheduler: Any) -> bool:
    if getattr(scheduler, "rust_server", None) is not None:
        return True
    args = scheduler.server_args
    return bool(args.smg_grpc_mode or args.grpc_mode) and is_receiving_rank(scheduler)


def broadcast_requests(
    original: Any, self: Any, recv_reqs: list[Any] | None, *args: Any, **kwargs: Any
) -> Any:
    """Predict for what came, then send it to the other ranks."""
    if PROCESS.front_end is not None and recv_reqs:
        try:
            PROCESS.front_end.predict(recv_reqs)
        except Exception as error:
            fallback.report("predict", error)
    return original(self, recv_reqs, *args, **kwargs)


def to_payload(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    """A step's outputs are about to be sent: learn from those that ended."""
    output = original(self, *args, **kwargs)
    if PROCESS.front_end is not None and output is not None:
        try:
            PROCESS.front_end.learn(output)
        except Exception as error:
            fallback.report("outcome", error)
    return output


START = Hook(
    target="sglang.srt.managers.scheduler.Scheduler.maybe_init_rust_server",
    fn=maybe_init_rust_server,
    reason="start the prediction service for a front end without a TokenizerManager",
    parameters=("self",),
)
RECEIVED = Hook(
    target="sglang.srt.managers.scheduler_components.request_receiver."
    "SchedulerRequestReceiver._broadcast_reqs_across_ranks",
    fn=broadcast_requests,
    reason="predict requests of such a front end",
    parameters=("self", "recv_reqs"),
)
OUTPUT = Hook(
    target="sglang.srt.managers.scheduler_components.output_streamer."
    "_GenerationStreamAccumulator.to_payload",
    fn=to_payload,
    reason="learn from requests of such a front end that finished",
    parameters=("self",),
)
