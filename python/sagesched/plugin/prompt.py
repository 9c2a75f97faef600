"""What a prediction is made from."""

from __future__ import annotations

from typing import Any

from sagesched.predict.token_ids import Content, TokenIds

HEAD_TOKENS = 256
TAIL_TOKENS = 256


def prompt_content(tokenizer: Any, request: Any) -> Content:
    """The prompt's text; its head and tail decoded where only ids arrive; ids without a tokenizer.

    The chat route renders to ids. Decoding 512 of them is the only work of ours on the event
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
        if len(ids) > HEAD_TOKENS + TAIL_TOKENS:
            ids = ids[:HEAD_TOKENS] + ids[-TAIL_TOKENS:]
        return str(tokenizer.decode(list(ids), skip_special_tokens=True))
    except (OverflowError, TypeError, ValueError):  # ids that are no tokens: the client's affair
        return ""
