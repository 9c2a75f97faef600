"""The CPU engine: a real, stock SGLang serves, and replayed output lengths are exact."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from cpu_engine.eos_at import EosAt, eos_at_params
from cpu_engine.make_model import EOS_ID
from cpu_engine.server import EngineError, EngineServer

from .serving import start_server
from .traffic import post, session

pytestmark = pytest.mark.server

STOCK = {"SGLANG_PLUGINS": "none-of-them"}
REQUESTS = 32
QUESTION = "Could you tell me about the weather in winter?"


@pytest.fixture(scope="module")
def server() -> Iterator[EngineServer]:
    with start_server("--schedule-policy", "fcfs", env=STOCK) as running:
        yield running


def replay(tokens: int) -> dict[str, Any]:
    """Fields of an OpenAI request whose answer has so many tokens."""
    return {
        "model": "default",
        "max_tokens": 1000,
        "custom_logit_processor": EosAt.to_str(),
        "custom_params": eos_at_params(tokens, eos=EOS_ID),
    }


def native(prompt: str, tokens: int) -> dict[str, Any]:
    """A request to /generate whose answer has so many tokens."""
    body = replay(tokens)
    params = {"max_new_tokens": 1000, "custom_params": body["custom_params"]}
    processor = body["custom_logit_processor"]
    return {"text": prompt, "sampling_params": params, "custom_logit_processor": processor}


async def stream(url: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a streamed answer."""
    events = []
    async with session() as client, client.post(url, json=body | {"stream": True}) as response:
        assert response.status == 200
        async for line in response.content:
            if line.startswith(b"data:") and b"[DONE]" not in line:
                events.append(json.loads(line[5:]))
    return events


async def replay_many(url: str, lengths: list[int]) -> list[dict[str, Any]]:
    """Send one request per length at once; returns what SGLang tells about each."""
    answers = await asyncio.gather(
        *(
            post(url + "/generate", native(f"{i}. {QUESTION} " * 4, tokens))
            for i, tokens in enumerate(lengths)
        )
    )
    assert [status for status, _ in answers] == [200] * len(lengths)
    return [answer["meta_info"] for _, answer in answers]


def random_lengths(low: int, high: int) -> list[int]:
    rng = random.Random(3)
    return [rng.randint(low, high) for _ in range(REQUESTS)]


def test_chat_route(server: EngineServer) -> None:
    body = replay(7) | {"messages": [{"role": "user", "content": QUESTION}]}
    status, answer = asyncio.run(post(server.url + "/v1/chat/completions", body))
    assert status == 200
    assert answer["usage"]["completion_tokens"] == 7
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_completions_route_streams(server: EngineServer) -> None:
    body = replay(12) | {"prompt": QUESTION, "stream_options": {"include_usage": True}}
    events = asyncio.run(stream(server.url + "/v1/completions", body))
    assert events[-1]["usage"]["completion_tokens"] == 12
    assert len(events) > 2


def test_native_route_streams(server: EngineServer) -> None:
    events = asyncio.run(stream(server.url + "/generate", native(QUESTION, 12)))
    counts = [event["meta_info"]["completion_tokens"] for event in events]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] == 12


def test_the_length_limit_still_holds(server: EngineServer) -> None:
    body = replay(500) | {"prompt": QUESTION, "max_tokens": 9}
    _, answer = asyncio.run(post(server.url + "/v1/completions", body))
    assert answer["usage"]["completion_tokens"] == 9
    assert answer["choices"][0]["finish_reason"] == "length"


def test_replayed_lengths_are_exact(server: EngineServer) -> None:
    lengths = [1, 2, *random_lengths(3, 200)[2:]]
    told = asyncio.run(replay_many(server.url, lengths))
    assert [info["completion_tokens"] for info in told] == lengths
    assert {info["finish_reason"]["matched"] for info in told} == {EOS_ID}


def test_replayed_lengths_are_exact_with_retractions() -> None:
    # A pool for about a third of the tokens, and an estimate that admits far too many requests.
    args = ["--max-total-tokens", "3000", "--schedule-conservativeness", "0.05"]
    env = STOCK | {"SGLANG_CLIP_MAX_NEW_TOKENS_ESTIMATION": "8"}
    lengths = random_lengths(100, 300)
    with start_server(*args, env=env) as server:
        told = asyncio.run(replay_many(server.url, lengths))
    assert sum(info["num_retractions"] for info in told) > 0
    assert [info["completion_tokens"] for info in told] == lengths


def test_a_server_that_does_not_start_says_why() -> None:
    server = start_server("--schedule-policy", "no-such-policy", env=STOCK)
    with pytest.raises(EngineError, match="invalid choice: 'no-such-policy'"):
        server.start()
    assert not server.running
    server.stop()
    assert not server.log_path.exists()
