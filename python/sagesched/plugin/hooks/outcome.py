"""Outcomes return to the history: finished, stopped at a limit, aborted, disconnected; and how far
the others have come.

A request that reached its token limit or was aborted is censored: its output would have been
longer than what is seen. A client that disconnects makes SGLang abort the request, which comes
back on one of these two paths.
"""

from __future__ import annotations

from typing import Any

from sagesched.plugin import fallback, metrics
from sagesched.plugin.disaggregation import PREFILL
from sagesched.plugin.hook import Hook
from sagesched.plugin.state import TokenizerState, state_of


async def handle_batch_output(original: Any, self: Any, recv_obj: Any, *rest: Any) -> Any:
    """Let SGLang deliver a step's outputs, then learn from those that ended."""
    result = await original(self, recv_obj, *rest)
    state: TokenizerState | None = state_of(self)
    if state is not None:
        try:
            _learn_finished(state, recv_obj, _only_prefills(self))
        except Exception as error:
            fallback.report("outcome", error)
    return result


def handle_abort_req(original: Any, self: Any, recv_obj: Any, *rest: Any) -> Any:
    """A request was aborted in the queue: note how far it had come before it is forgotten."""
    state: TokenizerState | None = state_of(self)
    if state is not None:
        try:
            known = self.rid_to_state.get(recv_obj.rid)
            produced = 0 if known is None else len(known.output_ids)
            state.progress.end(recv_obj.rid)
            state.calibration.forget(recv_obj.rid)
            state.service.finish(recv_obj.rid, produced, False)
            metrics.export_soon(state.service, state.calibration)
        except Exception as error:
            fallback.report("outcome", error)
    return original(self, recv_obj, *rest)


def _only_prefills(manager: Any) -> bool:
    """Whether outputs go on elsewhere, after their first token."""
    mode = getattr(manager, "disaggregation_mode", None)
    return getattr(mode, "value", "") == PREFILL


def end(state: TokenizerState, rid: str, tokens: int, reason: Any, elsewhere: bool) -> None:
    """An output has ended here; where others go on with it (a prefill server, whose limit is one
    token) that says nothing of its length, but for one that stops at once."""
    state.progress.end(rid)
    stopped = reason.get("type") == "stop"
    if elsewhere and not stopped:
        state.service.forget(rid)
    else:
        state.service.finish(rid, tokens, stopped)
    _compare(state, rid, tokens, {} if elsewhere else reason)


def _learn_finished(state: TokenizerState, output: Any, elsewhere: bool) -> None:
    lengths = getattr(output, "completion_tokens", None)
    if lengths is None:  # an embedding model's output
        return
    ended = False
    for rid, reason, tokens in zip(output.rids, output.finished_reasons, lengths, strict=False):
        if reason is not None:
            ended = True
            end(state, rid, int(tokens), reason, elsewhere)
        elif state.progress.has_doubled(rid, tokens):
            state.service.progress(rid, int(tokens))
    if ended:
        metrics.export_soon(state.service, state.calibration)


def _compare(state: TokenizerState, rid: str, tokens: int, reason: Any) -> None:
    """Hold the prediction against the length; one that was aborted has none."""
    if reason.get("type") in ("stop", "length"):
        state.calibration.end(rid, tokens)
    else:
        state.calibration.forget(rid)


OUTPUT = Hook(
    target="sglang.srt.managers.tokenizer_manager.TokenizerManager._handle_batch_output",
    fn=handle_batch_output,
    reason="learn from requests that finished",
    parameters=("self", "recv_obj"),
    is_async=True,
)
ABORT = Hook(
    target="sglang.srt.managers.tokenizer_manager.TokenizerManager._handle_abort_req",
    fn=handle_abort_req,
    reason="learn from requests that were aborted while they waited",
    parameters=("self", "recv_obj"),
)
