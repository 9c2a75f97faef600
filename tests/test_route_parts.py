"""What the router is made of: bodies, loads, outcomes, predictions, the gateway's places."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagesched.balance.prefix_table import blocks_of
from sagesched.balance.reported import LoadReader
from sagesched.balance.request_body import read_body
from sagesched.gateway.admission import Admission, RejectedError
from sagesched.gateway.config import RouteConfig
from sagesched.gateway.expected import read_prediction
from sagesched.gateway.outcome import Tail
from sagesched.gateway.targets import Gateway

LOAD = {
    "timestamp": 100.0,
    "num_running_reqs": 3,
    "num_waiting_reqs": 2,
    "num_waiting_uncached_tokens": 700,
    "num_used_tokens": 4000,
    "max_total_num_tokens": 10_000,
    "max_running_requests": 16,
    "gen_throughput": 100.0,
    "total_prefill_uncached_tokens": 50_000,
    "total_prefill_busy_us": 10_000_000,
}


@pytest.mark.parametrize(
    ("body", "tokens", "text"),
    [
        ({"text": "x" * 41}, 11, "x" * 41),
        ({"text": ["ab", "cd"]}, 2, "ab\ncd"),
        ({"input_ids": [5, 6, 7]}, 3, ""),
        ({"input_ids": [[5, 6], [7]]}, 3, ""),
        ({"prompt": "four"}, 1, "four"),
        ({"prompt": [1, 2, 3, 4]}, 4, ""),
        ({"messages": [{"content": "one"}, {"content": [{"text": "two"}]}]}, 2, "one\ntwo"),
        (
            SimpleNamespace(messages=[SimpleNamespace(content="a pydantic one")]),
            4,
            "a pydantic one",
        ),
        ({"messages": "no list", "prompt": None}, 0, ""),
        (None, 0, ""),
        ([1], 0, ""),
        ({"text": "é" * 4}, 2, "é" * 4),
        ({"text": "\ud800"}, 1, "\ud800"),
        ({"input_ids": [1, "a"]}, 0, ""),
        ({"input_ids": [1, 2.5]}, 0, ""),
        ({"input_ids": [1, None]}, 0, ""),
        ({"input_ids": [1, 2**70]}, 0, ""),
        ({"input_ids": [[1, 2], [2**63], [3]]}, 3, ""),
        ({"prompt": [-1, 5]}, 2, ""),
    ],
)
def test_prompts_are_counted_or_estimated(body: Any, tokens: int, text: str) -> None:
    asked = read_body(body)
    assert (asked.prompt_tokens, asked.text) == (tokens, text)
    assert asked.query("k").prompt_tokens == tokens


def test_a_body_tells_its_limits() -> None:
    chat = read_body(
        {
            "model": "m",
            "max_completion_tokens": 7,
            "temperature": 0,
            "tools": [{}],
            "response_format": {"type": "json_object"},
            "messages": [],
        }
    )
    assert (chat.model, chat.max_new_tokens, chat.temperature) == ("m", 7, 0)
    assert chat.tools
    assert chat.structured
    native = read_body({"text": "a", "sampling_params": {"max_new_tokens": 9, "regex": "a+"}})
    assert (native.max_new_tokens, native.structured, native.tools) == (9, True, False)
    assert not read_body({"response_format": {"type": "text"}}).structured


@pytest.mark.parametrize(
    ("body", "one"),
    [
        ({"text": "a"}, True),
        ({"text": ["a"], "n": 1}, True),
        ({"text": ["a", "b"]}, False),
        ({"prompt": "a", "n": 2}, False),
        ({"prompt": "a", "n": "2"}, False),
        ({"prompt": "a", "best_of": 3}, False),
        ({"text": "a", "sampling_params": {"n": 2}}, False),
        ({"text": "a", "sampling_params": [{"n": 2}]}, False),
        (SimpleNamespace(prompt="a", n=2), False),
        (None, True),
    ],
)
def test_a_body_tells_whether_it_asks_for_one_answer(body: Any, one: bool) -> None:
    assert read_body(body).one_answer == one


HUGE = [pytest.param(value, id="huge") for value in (10**400, -(10**400), float("inf"))]


@pytest.mark.parametrize("limit", [*HUGE, float("nan"), 0, "9", True], ids=str)
def test_a_limit_that_is_none_counts_as_none(limit: Any) -> None:
    body = {"text": "a", "sampling_params": {"max_new_tokens": limit, "temperature": limit}}
    assert read_body(body).max_new_tokens is None


FIELDS = ("text", "input_ids", "messages", "content", "prompt", "sampling_params", "max_tokens")


def _nested(part: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(part) | st.dictionaries(st.sampled_from(FIELDS), part)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), _nested))
def test_no_body_is_too_odd(body: Any) -> None:
    for odd in (body, {"input_ids": body}, {"sampling_params": {"max_new_tokens": body}}):
        asked = read_body(odd)
        assert asked.prompt_tokens >= 0
        blocks_of(asked.query("k").prefix)


def test_ranks_are_added_up_and_rates_are_means_over_a_window() -> None:
    reader = LoadReader()
    load = reader.read([LOAD, LOAD])
    assert (load.running, load.waiting, load.capacity_tokens, load.sequence) == (6, 4, 20_000, 1)
    assert (load.prefill_per_s, load.release_per_s) == (0, 0)

    reader = LoadReader()
    reader.read([LOAD])
    soon = LOAD | {"timestamp": 100.5, "total_prefill_uncached_tokens": 99_999}
    assert reader.read([soon]).release_per_s == 0
    later = LOAD | {
        "timestamp": 102.0,
        "num_used_tokens": 3000,
        "total_prefill_uncached_tokens": 56_000,
        "total_prefill_busy_us": 10_500_000,
    }
    load = reader.read([later])
    assert load.prefill_per_s == pytest.approx(6000 / 0.5)
    assert load.release_per_s == pytest.approx((6000 + 2 * 100 + 1000) / 2)
    assert load.sequence == 3
    assert reader.read([later]).sequence == 3  # the same again is no news
    counted = later | {"timestamp": 104.0, "decode_moments": [9, 9, 9, 9, 9, 500]}
    assert reader.read([counted]).release_per_s == pytest.approx(500 / 2)
    restarted = LOAD | {"timestamp": 1.0, "total_prefill_uncached_tokens": 0}
    assert reader.read([restarted]).sequence == 5
    without_time = [{k: v for k, v in LOAD.items() if k != "timestamp"}]
    assert [reader.read(without_time).sequence for _ in range(2)] == [6, 7]


@pytest.mark.parametrize(
    "reports", [[], [{}], [LOAD | {"num_running_reqs": "3"}], [LOAD | {"num_used_tokens": -1}]]
)
def test_a_load_that_is_none_is_refused(reports: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="load"):
        LoadReader().read(reports)


def test_the_outcome_is_read_from_the_end_and_not_from_what_the_model_says() -> None:
    def outcome(*pieces: bytes) -> tuple[int, bool] | None:
        tail = Tail()
        for piece in pieces:
            tail.add(piece)
        return tail.outcome()

    forged = json.dumps({"text": '"completion_tokens": 9', "meta_info": {"completion_tokens": 3}})
    assert outcome(forged.encode()) == (3, False)
    openai = {"choices": [{"finish_reason": "stop"}], "usage": {"completion_tokens": 12}}
    assert outcome(json.dumps(openai).encode()) == (12, True)
    cut = {"meta_info": {"finish_reason": {"type": "length", "length": 4}, "completion_tokens": 4}}
    assert outcome(json.dumps(cut).encode()) == (4, False)
    streamed = [b'data: {"completion_tokens": %d}\n\n' % n for n in range(1, 4000)]
    assert outcome(*streamed, b'data: {"finish_reason": "stop"}') == (3999, True)
    assert outcome(b"data: [DONE]") is None
    assert outcome(b'{"completion_tokens": %s}' % (b"9" * 5000)) is None


def test_a_prediction_is_read() -> None:
    quantiles = {"0.9": 300, "0.1": 100, "0.5": 200}
    answer = {"quantiles": quantiles, "expected_output_tokens_p90": 300, "key": "k"}
    expected = read_prediction(answer)
    assert (expected.mean, expected.high, expected.key) == (pytest.approx(200), 300, "k")


def test_places_in_the_gateway_are_those_of_its_healthy_workers() -> None:
    gateway = Gateway("http://gateway", ["http://a/", "http://b", "http://c"])
    assert not gateway.reachable(0)
    listing = [("http://c", True), ("http://other", True), ("http://a", False), ("http://b/", True)]
    gateway.learn({"workers": [{"url": url, "is_healthy": ok} for url, ok in listing]})
    assert [gateway.reachable(index) for index in range(3)] == [False, True, True]
    assert gateway.of(1) == ("http://gateway", [("x-smg-target-worker", "2")])
    assert gateway.of(2) == ("http://gateway", [("x-smg-target-worker", "0")])
    assert (gateway.index_of("http://a"), gateway.index_of("http://other")) == (0, None)
    with pytest.raises(ValueError, match="workers"):
        gateway.learn({})
    gateway.forget()
    assert not gateway.reachable(1)


def test_places_are_given_in_order_and_never_lost() -> None:
    async def scenario() -> None:
        admission, order = Admission(1, 9, 60.0), list[int]()

        async def hold(number: int) -> None:
            async with admission.place():
                order.append(number)
                await asyncio.sleep(0)

        async with admission.place():
            tasks = [asyncio.ensure_future(hold(number)) for number in range(5)]
            await asyncio.sleep(0)
            tasks[1].cancel()
            await asyncio.sleep(0)
        tasks[0].cancel()  # it has just been given the place
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == [2, 3, 4]
        async with admission.place():
            with pytest.raises(RejectedError):
                async with Admission(0, 0, 1.0).place():
                    pass
        assert admission.waiting == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": ()},
        {"replicas": ("http://a", "http://a")},
        {"replicas": ("a:30000",)},
        {"replicas": ("http://a:x",)},
        {"gateway": "http://g/?q"},
        {"poll_s": 0.0},
        {"poll_s": 1e-12},
        {"inform_timeout_s": 0.0},
        {"body_timeout_s": 0.0},
        {"replicas": ("http://:password@a:1",)},
        {"api_key": "two\nlines"},
        {"bytes_per_token": 1e-320},
        {"max_inflight": 0},
        {"max_queue": -1},
        {"balance": "shortest_predicted"},
        {"balance": "shortest_predicted:answers=0"},
    ],
)
def test_bad_settings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|name|needs"):
        RouteConfig(**{"replicas": ("http://a:1",), **change})
