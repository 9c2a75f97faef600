"""The load: bursts of streaming requests on two routes, and the probe around them."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any

import aiohttp

from bench.demo.replay import Replay
from cpu_engine.corpus import sentences

PROMPT_CHARS = 2200
"""About 500 tokens."""
BURST = 64
LONGEST_ANSWER = 32
MODEL = "default"


def prompts(seed: int) -> Iterator[str]:
    """Different ones without end."""
    rng, known = random.Random(seed), list(sentences(2000))
    while True:
        text = " ".join(rng.choices(known, k=60))
        yield f"{rng.random()} {text}"[:PROMPT_CHARS]


async def measured(
    url: str, replay: Replay, bursts: int, seed: int, start: str = ""
) -> dict[str, Any]:
    """Send the bursts, one after the other, and return what the probe saw, which is started with
    ``start``.

    Raises:
        RuntimeError: a request failed.
    """
    endless, rng = prompts(seed), random.Random(seed)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(url, connector=connector, timeout=timeout) as session:
        await _probe(session, f"start?{start}")
        for _ in range(bursts):
            requests = (
                _send(session, *_request(next(endless), rng.randint(1, LONGEST_ANSWER), replay, n))
                for n in range(BURST)
            )
            await asyncio.gather(*requests)
        seen: dict[str, Any] = await _probe(session, "stop")
        return seen


def _request(prompt: str, tokens: int, replay: Replay, number: int) -> tuple[str, dict[str, Any]]:
    """Route and body; every other one goes to the chat route, which sends token ids on."""
    own = {"custom_logit_processor": replay.processor, "stream": True}
    params = {"custom_params": replay.params(tokens), **replay.sampling}
    if number % 2:
        chat = {"model": MODEL, "messages": [{"role": "user", "content": prompt}]}
        return "/v1/chat/completions", {**own, **params, **chat, "max_tokens": 500}
    return "/generate", {
        **own,
        "text": prompt,
        "sampling_params": {**params, "max_new_tokens": 500},
    }


async def _send(session: aiohttp.ClientSession, route: str, body: dict[str, Any]) -> None:
    async with session.post(route, json=body) as response:
        answer = await response.text()
    if response.status != 200 or '"error"' in answer or "[DONE]" not in answer:
        raise RuntimeError(f"{route}: status {response.status}, {answer[:300]}")


async def _probe(session: aiohttp.ClientSession, what: str) -> Any:
    async with session.post(f"/probe/{what}") as response:
        answer = await response.text()
    if response.status != 200:
        raise RuntimeError(f"the probe: status {response.status}, {answer[:300]}")
    return json.loads(answer)
