"""The router over real sockets, in front of stand-ins for SGLang servers."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from sagesched.balance.request_body import read_body
from sagesched.balance.sal import Sal

from .fake_sglang import POOL, FakeSglang
from .routing import PATIENT, Router, generate_body, in_thread, wait_until
from .rude_server import RudeServer

NEVER = 3600.0
BUSY = {"num_used_tokens": POOL, "num_waiting_reqs": 9, "num_waiting_uncached_tokens": 5000}


@pytest.fixture
def fakes() -> Iterator[tuple[FakeSglang, FakeSglang]]:
    with FakeSglang("a") as a, FakeSglang("b") as b:
        yield a, b


def test_requests_go_where_the_load_is_least(fakes: tuple[FakeSglang, FakeSglang]) -> None:
    a, b = fakes
    a.load = BUSY
    with Router(a.url, b.url) as router:
        served = {router.generate(f"prompt {n}").json()["text"] for n in range(5)}
        assert served == {"b"}
        a.load, b.load = {}, BUSY
        wait_until(lambda: router.replicas()[1]["load"]["waiting"] == 9)
        wait_until(lambda: router.replicas()[0]["load"]["waiting"] == 0)
        answer = router.generate("another")
        assert (answer.json()["text"], answer.headers["x-sagesched-replica"]) == ("a", "0")


def test_a_burst_spreads_before_any_report_shows_it(fakes: tuple[FakeSglang, FakeSglang]) -> None:
    a, b = fakes
    a.gate.clear()
    b.gate.clear()
    with Router(a.url, b.url, poll_s=NEVER) as router, ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(router.generate, f"{n} " * 50) for n in range(8)]
        wait_until(lambda: len(a.seen) + len(b.seen) == 8)
        assert {len(a.seen), len(b.seen)} == {4}
        a.gate.set()
        b.gate.set()
        assert all(answer.result().status_code == 200 for answer in answers)
        assert [replica["in_flight"] for replica in router.replicas()] == [0, 0]


def test_a_stream_passes_piece_by_piece() -> None:
    with FakeSglang("a") as a, Router(a.url) as router:
        a.token_s = 0.05
        with router.client.stream("POST", "/generate", json=generate_body(stream=True)) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            pieces = answer.iter_lines()
            assert json.loads(next(pieces)[6:])["meta_info"]["completion_tokens"] == 1
            a.gate.clear()  # what follows is not produced yet
            assert router.replicas()[0]["in_flight"] == 1
            a.gate.set()
            assert [line for line in pieces if line][-1] == "data: [DONE]"
        wait_until(lambda: router.metric("requests_total", result="answered") == 1)


def test_a_client_that_does_not_read_stops_the_server_from_producing() -> None:
    tokens = 4000
    with FakeSglang("a") as a, Router(a.url) as router:
        a.padding = 100_000
        body = generate_body(tokens=tokens, stream=True)
        with router.client.stream("POST", "/generate", json=body) as answer:
            assert answer.status_code == 200
            produced = -1
            while produced != a.produced:  # until the buffers are full
                produced = a.produced
                time.sleep(0.5)
            assert 0 < produced < tokens
        wait_until(lambda: a.aborted == 1)


def test_keys_pass_and_hop_by_hop_headers_do_not(fakes: tuple[FakeSglang, FakeSglang]) -> None:
    a, b = fakes
    sent = {
        "authorization": "Bearer client-key",
        "x-request-id": "r1",
        "x-smg-target-worker": "7",
        "connection": "x-private, keep-alive",
        "x-private": "1",
    }
    with Router(a.url, b.url) as router:
        body = generate_body("prompt")
        assert router.client.post("/generate?x=1", json=body, headers=sent).status_code == 200
    ((headers, seen),) = a.seen + b.seen
    assert seen == body
    assert headers["authorization"] == "Bearer client-key"
    assert headers["x-request-id"] == "r1"
    assert not {"x-smg-target-worker", "x-private"} & set(headers)


def test_an_answer_of_any_status_passes() -> None:
    with FakeSglang("a") as a, Router(a.url) as router:
        a.status = 429
        answer = router.generate()
        assert (answer.status_code, answer.json()) == (429, {"error": "a"})
        a.status = 200
        not_json = router.client.post("/generate", content=b"not json")
        assert not_json.status_code == 500  # the stand-in's own, as it does not check its bodies
        wait_until(lambda: router.metric("requests_total", result="answered") == 2)


def test_a_refused_connection_is_tried_elsewhere(fakes: tuple[FakeSglang, FakeSglang]) -> None:
    a, b = fakes
    with Router(a.url, b.url, poll_s=NEVER) as router:
        a.stop()  # and no poll has seen it
        answers = [router.generate(f"{n}") for n in range(4)]
        assert [answer.json()["text"] for answer in answers] == ["b"] * 4
        assert router.metric("retries_total") == 1
        assert [replica["healthy"] for replica in router.replicas()] == [False, True]
        b.stop()
        answer = router.generate()
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["code"] == "no_replica"
        assert router.client.get("/health").status_code == 503


def test_a_request_that_may_have_run_is_never_sent_twice() -> None:
    with RudeServer() as rude, FakeSglang("b") as other:
        other.load = BUSY
        with Router(rude.url, other.url) as router:
            answer = router.generate()
            assert (answer.status_code, answer.json()["error"]["code"]) == (502, "failed")
            assert (rude.posts, len(other.seen)) == (1, 0)
            assert router.metric("retries_total") == 0


def test_an_answer_that_breaks_off_breaks_off_for_the_client() -> None:
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    with RudeServer(head + b"6\r\ndata: \r\n") as rude, Router(rude.url) as router:
        with (
            router.client.stream("POST", "/generate", json=generate_body(stream=True)) as answer,
            pytest.raises(httpx.RemoteProtocolError),
        ):
            answer.read()
        wait_until(lambda: router.metric("requests_total", result="broken") == 1)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_request_at_the_server(stream: bool) -> None:
    with FakeSglang("a", token_s=0.01) as a, Router(a.url) as router:
        body = generate_body(tokens=100_000, stream=stream)
        if stream:
            with router.client.stream("POST", "/generate", json=body) as answer:
                next(answer.iter_raw())
        else:
            with pytest.raises(httpx.ReadTimeout):
                router.client.post("/generate", json=body, timeout=0.3)
        wait_until(lambda: a.aborted == 1)
        wait_until(lambda: router.replicas()[0]["in_flight"] == 0)
        wait_until(lambda: router.metric("requests_total", result="client_left") == 1)


def test_places_and_queue_are_bounded() -> None:
    with (
        FakeSglang("a") as a,
        Router(a.url, max_inflight=1, max_queue=1) as router,
        ThreadPoolExecutor(2) as pool,
    ):
        a.gate.clear()
        first = pool.submit(router.generate, "first")
        wait_until(lambda: len(a.seen) == 1)
        second = pool.submit(router.generate, "second")
        wait_until(lambda: router.metric("queue") == 1)
        third = router.generate("third")
        assert (third.status_code, third.headers["retry-after"]) == (503, "1")
        assert third.json()["error"]["code"] == "rejected"
        assert len(a.seen) == 1
        a.gate.set()
        assert first.result().status_code == second.result().status_code == 200
        assert [body["text"] for _, body in a.seen] == ["first", "second"]


def test_the_wait_for_a_place_is_bounded_and_who_leaves_gives_the_place_up() -> None:
    with (
        FakeSglang("a") as a,
        Router(a.url, max_inflight=1, max_queue=9, queue_timeout_s=0.6) as router,
        ThreadPoolExecutor(1) as pool,
    ):
        a.gate.clear()
        first = pool.submit(router.generate, "first")
        wait_until(lambda: len(a.seen) == 1)
        with pytest.raises(httpx.ReadTimeout):
            router.generate("leaves", timeout=0.2)
        assert router.generate("waits").status_code == 503
        assert router.metric("queue") == 0
        a.gate.set()
        assert first.result().status_code == 200
        assert router.generate("after").status_code == 200
        assert [body["text"] for _, body in a.seen] == ["first", "after"]


def test_a_server_gets_requests_when_it_is_up_and_the_key_fits() -> None:
    with FakeSglang("a", api_key="k") as a, Router(a.url, failures=1) as router:
        assert router.client.get("/health").status_code == 503
        assert router.generate().status_code == 503
        a.api_key = ""
        wait_until(lambda: router.client.get("/health").status_code == 200)
        assert router.generate().status_code == 200
    with FakeSglang("b", api_key="k") as b, Router(b.url, api_key="k") as router:
        assert router.client.get("/health").json() == {"healthy": 1, "replicas": 1}


def test_a_server_whose_load_stands_still_gets_no_more(
    fakes: tuple[FakeSglang, FakeSglang],
) -> None:
    a, b = fakes
    b.load = BUSY
    with Router(a.url, b.url, stall_s=0.2) as router, ThreadPoolExecutor(1) as pool:
        a.gate.clear()
        a.load = {"timestamp": 5.0}
        stuck = pool.submit(router.generate, "stuck")
        wait_until(lambda: not router.replicas()[0]["healthy"])
        assert router.generate("next").json()["text"] == "b"
        a.gate.set()
        assert stuck.result().status_code == 200
        time.sleep(0.3)
        assert not router.replicas()[0]["healthy"]  # idle, and still no word of it
        a.load = {}
        wait_until(lambda: router.replicas()[0]["healthy"])


@pytest.mark.parametrize(
    "body",
    [
        b'{"input_ids": [1, "a"]}',
        b'{"input_ids": [1, 2.5]}',
        b'{"input_ids": [1, null]}',
        b'{"input_ids": [[1, 2], [3, %d]]}' % 2**70,
        b'{"text": "hi", "max_completion_tokens": 1%s}' % (b"0" * 400),
        b'{"text": "hi", "sampling_params": {"temperature": 1e999}}',
        b'{"text": "\\ud800"}',
        b"[" * 50_000,
        b"{no json",
        b"",
    ],
)
def test_the_server_judges_a_body_that_nobody_understands(body: bytes) -> None:
    with FakeSglang("a") as a, Router(a.url) as router:
        answer = router.client.post("/generate", content=body)
        assert answer.headers["x-sagesched-replica"] == "0"
        assert answer.status_code == httpx.post(f"{a.url}/generate", content=body).status_code


def test_a_chooser_that_fails_fails_no_request(
    fakes: tuple[FakeSglang, FakeSglang],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("books")

    for name in ("choose", "finished"):
        monkeypatch.setattr(Sal, name, broken)
    a, b = fakes
    with Router(a.url, b.url) as router:
        assert [router.generate().status_code for _ in range(3)] == [200] * 3
    assert len([r for r in caplog.records if "chooser fails" in r.getMessage()]) == 1


def test_while_a_long_body_is_read_others_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def slowly(body: Any, *rest: Any) -> Any:
        reading.set()
        assert go_on.wait(PATIENT)
        return read_body(body, *rest)

    monkeypatch.setattr("sagesched.gateway.inference.read_request", slowly)
    with FakeSglang("a") as a, Router(a.url) as router:
        body = generate_body("x" * 2**20)
        with in_thread(lambda: router.client.post("/generate", json=body)) as answers:
            assert reading.wait(PATIENT)
            assert router.client.get("/health", timeout=PATIENT / 2).status_code == 200
            go_on.set()
        assert answers[0].status_code == 200
        assert [seen for _, seen in a.seen] == [body]


def test_no_prompt_and_no_key_in_the_logs(caplog: pytest.LogCaptureFixture) -> None:
    secret = "a-very-private-prompt"
    headers = {"authorization": f"Bearer {secret}"}
    with (
        caplog.at_level(logging.DEBUG),
        RudeServer() as rude,
        FakeSglang("a") as a,
        Router(rude.url, a.url) as router,
    ):
        a.load = BUSY
        assert router.generate(secret, headers=headers).status_code == 502
        rude.shutdown()
        rude.server_close()
        assert router.generate(secret, headers=headers).status_code == 200
        a.gate.clear()
        with pytest.raises(httpx.ReadTimeout):
            router.generate(secret, headers=headers, timeout=0.2)
        a.gate.set()
    ours = [record for record in caplog.records if record.name.startswith(("sagesched", "uvicorn"))]
    assert any("gets no more requests" in record.getMessage() for record in ours)
    assert secret not in "".join(map(str, (record.__dict__ for record in ours)))


def test_beside_a_slow_client_others_are_served() -> None:
    def slow(router: Router) -> Any:
        with router.client.stream(
            "POST", "/generate", json=generate_body(tokens=200, stream=True)
        ) as answer:
            return sum(1 for line in answer.iter_lines() if line)

    with FakeSglang("a", token_s=0.005) as a, Router(a.url) as router:
        with in_thread(lambda: slow(router)) as pieces:
            wait_until(lambda: a.running == 1)
            assert router.generate(tokens=1, timeout=PATIENT).status_code == 200
            assert not pieces
        assert pieces == [201]
