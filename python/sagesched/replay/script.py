"""The scripted outputs: which token a request produces next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sagesched.replay.engine import EOS_TOKEN
from sagesched.replay.recorder import Live
from sagesched.replay.trace import LAST_PROMPT_TOKEN, VOCABULARY

OUTPUT_TOKENS = 64
"""Token ids a request's output goes through in turn, in a range of its own as far as they reach:
two outputs must not look alike in the radix cache."""

OUTPUT_RANGES = (VOCABULARY - LAST_PROMPT_TOKEN) // OUTPUT_TOKENS


def first_token(number: int) -> int:
    """Where the range of the request of that arrival number begins."""
    return LAST_PROMPT_TOKEN + OUTPUT_TOKENS * (number % OUTPUT_RANGES)


def next_tokens(
    live: Mapping[str, Live], requests: Sequence[Any], lengths: Sequence[int]
) -> list[int]:
    """By position, which the KV length tells: right under overlap and retraction, too.

    Args:
        live: by id; a request that is not in it has ended.
        requests: of a batch, SGLang's ``Req``.
        lengths: their KV lengths, tokens.
    """
    tokens = []
    for request, length in zip(requests, lengths, strict=True):
        found = live.get(request.rid)
        if found is None or length >= found.last_length:
            tokens.append(EOS_TOKEN)
        else:
            position = length - found.prompt_tokens + 1
            tokens.append(found.first_token + position % OUTPUT_TOKENS)
    return tokens
