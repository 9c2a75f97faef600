"""Which steps a calibration measures."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from sagesched.replay.server_info import ServerInfo

POOL_SHARE = 0.85
"""Of the KV pool, at most, so that nothing is retracted."""


@dataclass(frozen=True)
class Prompts:
    """Requests of one probe: how many, and their prompts' length in tokens."""

    requests: int
    tokens: int

    def __str__(self) -> str:
        return f"{self.requests} x {self.tokens} tokens"


def decode_plan(info: ServerInfo, *, max_batch: int, max_prompt: int, tokens: int) -> list[Prompts]:
    """Batches of 1, 2, 4, ... with prompts from short to long, as far as the server holds them."""
    most = min(info.max_running, max_batch)
    batches = sorted({*(2**i for i in range(most.bit_length())), most})
    lengths = [n for n in (32, 256, 1024, 4096, 16_384, 65_536) if n <= max_prompt]
    longest = min(info.context, info.pool_tokens) - tokens - 8
    pool = POOL_SHARE * info.pool_tokens
    return [
        Prompts(batch, length)
        for length, batch in itertools.product(lengths, batches)
        if length <= longest and batch * (length + tokens + info.page_size) <= pool
    ]


def prefill_plan(info: ServerInfo, *, max_prompt: int) -> list[Prompts]:
    """Prompts that fit one chunk, alone and together."""
    longest = min(info.chunk, info.context - 8, max_prompt, int(POOL_SHARE * info.pool_tokens / 2))
    alone = [n for n in (16, 64, 256, 512, 1024, 2048, 4096, 8192, 16_384) if n <= longest]
    together = itertools.product((2, 4, 8), (32, 128, 512))
    return [Prompts(1, n) for n in alone] + [
        Prompts(count, n)
        for count, n in together
        if count * n <= longest and count < info.max_running
    ]
