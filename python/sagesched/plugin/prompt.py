"""What a prediction is made from."""

from __future__ import annotations

from typing import Any

from sagesched.predict.base import Excerpt
from sagesched.predict.token_ids import Content, TokenIds

SAMPLE_TOKENS = 128
"""Decoded from each end of a long prompt: more characters than embedders look at."""


def prompt_content(tokenizer: Any, request: Any) -> Content:
    """The prompt's text; its head and tail decoded where only ids arrive; ids without a tokenizer.

    The chat route renders to ids. Decoding 256 of them is the only work of ours on the event
    loop: the tokenizer object is not safe to share with another thread.
    """
    if isinstance(request.input_text, str) and request.input_text:
        return request.input_text
    ids = request.input_ids
    if not ids:
        return ""
    try:
        if tokenizer is None:  # --skip-tokenizer-init
            return TokenIds.of(ids)
        kept = ids
        if len(ids) > 2 * SAMPLE_TOKENS:
            kept = ids[:SAMPLE_TOKENS] + ids[-SAMPLE_TOKENS:]
        text = str(tokenizer.decode(list(kept), skip_special_tokens=True))
        return Excerpt.of(text, len(text) * len(ids) // len(kept))
    except (OverflowError, TypeError, ValueError):  # ids that are no tokens: the client's affair
        return ""
