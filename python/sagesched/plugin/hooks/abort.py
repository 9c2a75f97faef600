"""A client aborts a request, or hangs up, while we predict for it: the abort is noted."""

from __future__ import annotations

from typing import Any

from sagesched.plugin import fallback
from sagesched.plugin.hook import Hook
from sagesched.plugin.state import TokenizerState, state_of


def abort_request(
    original: Any, self: Any, rid: str = "", abort_all: bool = False, *args: Any, **kwargs: Any
) -> Any:
    """Note the abort, then let SGLang do what it does."""
    state: TokenizerState | None = state_of(self)
    if state is not None:
        try:
            state.departures.abort(rid, everything=abort_all)
        except Exception as error:
            fallback.report("abort", error)
    return original(self, rid, abort_all, *args, **kwargs)


HOOK = Hook(
    target="sglang.srt.managers.tokenizer_manager.TokenizerManager.abort_request",
    fn=abort_request,
    reason="repeat an abort that came while the request waited for its prediction",
    parameters=("self", "rid", "abort_all"),
)
