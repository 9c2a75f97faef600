"""Routes of the router that any server can answer: they ask the next one where one is silent."""

from __future__ import annotations

import httpx

from .fake_sglang import FakeSglang
from .routing import Router, in_thread, wait_until


def test_what_is_not_balanced() -> None:
    with (
        FakeSglang("a") as a,
        FakeSglang("b") as b,
        Router(a.url, b.url, max_body_bytes=1000, poll_s=3600.0) as router,
    ):
        large = router.client.post("/generate", content=b"x" * 1001)
        assert (large.status_code, large.json()["error"]["code"]) == (413, "too_large")
        assert router.client.get("/v1/models").json()["server"] == "a"
        a.stop()
        assert router.client.get("/v1/models").json()["server"] == "b"
        unknown = router.client.post("/flush_cache")
        assert unknown.status_code == 404
        assert "ask a server itself" in unknown.json()["error"]["message"]
        assert a.seen == b.seen == []


def test_information_comes_from_the_next_server_when_one_is_silent() -> None:
    with (
        FakeSglang("a") as a,
        FakeSglang("b") as b,
        Router(a.url, b.url, inform_timeout_s=0.2) as router,
    ):
        a.silent = True
        answer = router.client.get("/v1/models?x=1&y=%20z").json()
        assert (answer["server"], answer["query"]) == ("b", "x=1&y=%20z")
        wait_until(lambda: a.informing == 0)
        b.silent = True
        nobody = router.client.get("/v1/models")
        assert (nobody.status_code, nobody.headers["retry-after"]) == (503, "1")


def test_a_client_that_leaves_ends_its_information_request_too() -> None:
    with FakeSglang("a") as a, Router(a.url, inform_timeout_s=1000.0) as router:
        a.silent = True
        with in_thread(lambda: router.client.get("/v1/models", timeout=0.5)) as answers:
            wait_until(lambda: a.informing == 1)
        assert isinstance(answers[0], httpx.ReadTimeout)
        wait_until(lambda: a.informing == 0)
