"""The text a prediction is made from."""

from __future__ import annotations

from typing import Any

HEAD_TOKENS = 256
TAIL_TOKENS = 256


def prompt_text(tokenizer: Any, request: Any) -> str:
    """The prompt's text, or its head and tail decoded from ids where only ids arrive.

    The chat route renders to ids. Decoding 512 of them is the only work of ours on the event
    loop: the tokenizer object is not safe to share with another thread.
    """
    if isinstance(request.input_text, str) and request.input_text:
        return request.input_text
    ids = request.input_ids
    if not ids:
        return ""
    if len(ids) > HEAD_TOKENS + TAIL_TOKENS:
        ids = ids[:HEAD_TOKENS] + ids[-TAIL_TOKENS:]
    if tokenizer is None:
        return " ".join(map(str, ids))
    try:
        return str(tokenizer.decode(list(ids), skip_special_tokens=True))
    except (OverflowError, TypeError, ValueError):  # ids that are no tokens: the client's affair
        return ""
