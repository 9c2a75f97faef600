"""A tokenized request is about to be sent to the scheduler: predict, and attach.

Both ways to the scheduler are hooked, one request and a batch of them; n > 1 sends its samples
one by one. The event loop is free while the prediction is made in its thread; after the deadline
the request goes without one and the scheduler uses its prior.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from sagesched.plugin import fallback
from sagesched.plugin.about import about_request, tenant_label
from sagesched.plugin.departures import repeat_aborts
from sagesched.plugin.hook import Hook
from sagesched.plugin.prompt import prompt_content
from sagesched.plugin.state import TokenizerState, state_of
from sagesched.plugin.traffic import is_traffic
from sagesched.plugin.wire import attach


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
    keys = [str(request.rid) for request in requests]
    state.departures.begin(keys)
    try:
        await asyncio.gather(*(predict(state, self, request) for request in requests))
        result = await original(self, *args)
    except BaseException:
        state.departures.end(keys)
        for key in keys:
            state.service.forget(key)  # it never left: there will be no outcome
            state.calibration.forget(key)
        raise
    repeat_aborts(self, state.departures.end(keys))
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
            waited = time.monotonic() - came
            content = prompt_content(manager.tokenizer, request)
            about = about_request(manager, request, state.tenant_source)
            distribution = await state.service.predict(request.rid, content, about, waited)
            distribution = state.fitted(distribution, params, len(request.input_ids or ()))
            state.calibration.expect(str(request.rid), distribution)
            tenant = tenant_label(state.tenant_source, about.tenant)
        attach(params, distribution, tenant, time.monotonic())
    except Exception as error:
        fallback.report("predict", error)
        attach(params, None)


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
