"""A tokenized request is about to be sent to the scheduler: predict its output length.

Both ways to the scheduler are hooked, one request and a batch of them; n > 1 sends its samples
one by one. The request leaves at once, and its prediction follows it, from a thread: nobody's first
token waits for it. Where it is read on the way (``TokenizerState.ahead``) the request waits; after
the deadline it goes without, and the scheduler uses its prior.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from sagesched.lengths import LengthDistribution
from sagesched.plugin import fallback
from sagesched.plugin.about import about_request, tenant_label
from sagesched.plugin.departures import repeat_aborts
from sagesched.plugin.hook import Hook
from sagesched.plugin.prompt import prompt_content
from sagesched.plugin.state import TokenizerState, state_of
from sagesched.plugin.traffic import is_traffic
from sagesched.plugin.wire import as_message, attach
from sagesched.predict.about import About


async def send_one_request(original: Any, self: Any, tokenized_obj: Any, *rest: Any) -> Any:
    """Predict for one request, then send it."""
    return await _predict_and_send(original, self, [tokenized_obj], tokenized_obj, *rest)


async def send_batch_request(original: Any, self: Any, tokenized_objs: Any, *rest: Any) -> Any:
    """Predict for all requests of a batch at once, then send it."""
    return await _predict_and_send(original, self, tokenized_objs, tokenized_objs, *rest)


async def _predict_and_send(original: Any, self: Any, requests: Any, *args: Any) -> Any:
    state: TokenizerState | None = state_of(self)
    if state is None:
        return await original(self, *args)
    for request in requests:
        refuse_empty(request)
    if state.ahead:
        return await _predict_then_send(original, state, self, requests, *args)
    announced = [announce(state, self, request) for request in requests]
    result = await original(self, *args)
    for request, one in zip(requests, announced, strict=True):
        if one is not None:
            task = asyncio.get_running_loop().create_task(follow(state, self, request, one))
            state.tasks.add(task)
            task.add_done_callback(state.tasks.discard)
    return result


async def _predict_then_send(
    original: Any, state: TokenizerState, manager: Any, requests: Any, *args: Any
) -> Any:
    keys = [str(request.rid) for request in requests]
    state.departures.begin(keys)
    try:
        await asyncio.gather(*(predict(state, manager, request) for request in requests))
        result = await original(manager, *args)
    except BaseException:
        state.departures.end(keys)
        for key in keys:
            state.service.forget(key)  # it never left: there will be no outcome
            state.calibration.forget(key)
        raise
    repeat_aborts(manager, state.departures.end(keys))
    return result


def refuse_empty(request: Any) -> None:
    """Answer a prompt of no tokens with status 400.

    There is nothing to continue, and SGLang 0.5.23 passes it on to the model, where it ends the
    scheduler process and with it everybody else's requests.

    Raises:
        ValueError: the request has neither token ids nor embeddings nor media.
    """
    others = (getattr(request, "input_embeds", None), getattr(request, "mm_inputs", None))
    if not request.input_ids and others == (None, None):
        raise ValueError("The prompt is empty: it has no tokens to continue from.")


@dataclass(frozen=True)
class Announced:
    """A request that leaves and whose prediction follows it.

    Attributes:
        about: what is known of it.
        sent_s: when it leaves.
        handled: SGLang's state of it, while it has not ended; its id may be used again.
    """

    about: About
    sent_s: float
    handled: Any

    def is_open(self, manager: Any, rid: str) -> bool:
        """Whether it has not ended."""
        return self.handled is not None and manager.rid_to_state.get(rid) is self.handled


def announce(state: TokenizerState, manager: Any, request: Any) -> Announced | None:
    """Note on a request that its prediction follows; None where there will be none."""
    params = request.sampling_params
    if params is None:
        return None
    about, tenant, sent_s = None, "", time.monotonic()
    try:
        if is_traffic(manager, request):
            about = about_request(manager, request, state.tenant_source)
            tenant = tenant_label(state.tenant_source, about.tenant)
        said = attach(params, None, tenant, sent_s, follows=about is not None)
    except Exception as error:
        fallback.report("predict", error)
        attach(params, None)
        return None
    if about is None or not said:
        return None
    return Announced(about, sent_s, manager.rid_to_state.get(str(request.rid)))


async def follow(state: TokenizerState, manager: Any, request: Any, announced: Announced) -> None:
    """Predict for a request that has left, and send that after it, or that there is none: somebody
    awaits it."""
    rid, distribution = str(request.rid), None
    try:
        came = time.monotonic()
        await state.turns.take()
        if announced.is_open(manager, rid):  # else there will be no outcome
            distribution = await law_of(state, manager, request, announced.about, came)
        if announced.is_open(manager, rid):
            state.calibration.expect(rid, distribution)
    except Exception as error:
        fallback.report("predict", error)
    try:
        manager._dispatch_to_scheduler(as_message(rid, announced.sent_s, distribution))
    except Exception as error:
        fallback.report("follow", error)


async def predict(state: TokenizerState, manager: Any, request: Any) -> None:
    """Attach a prediction, or remove what a client may have put in its place."""
    params = request.sampling_params
    if params is None:
        return
    try:
        distribution, tenant = None, ""
        if is_traffic(manager, request):
            came = time.monotonic()
            await state.turns.take()
            about = about_request(manager, request, state.tenant_source)
            distribution = await law_of(state, manager, request, about, came)
            state.calibration.expect(str(request.rid), distribution)
            tenant = tenant_label(state.tenant_source, about.tenant)
        attach(params, distribution, tenant, time.monotonic())
    except Exception as error:
        fallback.report("predict", error)
        attach(params, None)


async def law_of(
    state: TokenizerState, manager: Any, request: Any, about: About, came: float
) -> LengthDistribution | None:
    """What is predicted of a request, cut to what it may generate; it came at ``came``."""
    waited_s = time.monotonic() - came
    content = prompt_content(manager.tokenizer, request)
    predicted = await state.service.predict(request.rid, content, about, waited_s)
    return state.fitted(predicted, request.sampling_params, len(request.input_ids or ()))


ONE = Hook(
    target="sglang.srt.managers.tokenizer_manager.TokenizerManager._send_one_request",
    fn=send_one_request,
    reason="predict the output length of a request before it leaves for the scheduler",
    parameters=("self", "tokenized_obj"),
    is_async=True,
)
BATCH = Hook(
    target="sglang.srt.managers.tokenizer_manager.TokenizerManager._send_batch_request",
    fn=send_batch_request,
    reason="the same for requests that are sent as one batch",
    parameters=("self", "tokenized_objs"),
    is_async=True,
)
