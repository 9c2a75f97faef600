"""The router beside a service that predicts lengths."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .fake_sglang import FakeSglang
from .routing import Router, generate_body, wait_until


class FakePredictor:
    """Predicts as many tokens as the prompt has words; ``slow`` keeps it from answering."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.told: list[dict[str, Any]] = []
        self.slow = False
        self.status = 200
        self.quantiles: Any = None

    async def predict(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        while self.slow:
            await asyncio.sleep(0.01)
        words = len(body["prompt"].split())
        quantiles = self.quantiles or {"0.5": words}
        answer = {"quantiles": quantiles, "expected_output_tokens_p90": words}
        return JSONResponse(answer | {"key": f"key {len(self.asked)}"}, self.status)

    async def ingest(self, request: Request) -> Response:
        self.told.append(await request.json())
        return JSONResponse({"accepted": 1})


@contextmanager
def served(predictor: FakePredictor) -> Iterator[str]:
    app = Starlette(
        routes=[
            Route("/predict", predictor.predict, methods=["POST"]),
            Route("/ingest", predictor.ingest, methods=["POST"]),
        ]
    )
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    predictor.slow = False
    server.should_exit = server.force_exit = True
    thread.join()


def test_predicted_lengths_decide_and_real_ones_are_told() -> None:
    predictor = FakePredictor()
    with (
        served(predictor) as url,
        FakeSglang("a", token_s=0.01) as a,
        FakeSglang("b", token_s=0.01) as b,
        Router(
            a.url, b.url, predictor=url, predictor_deadline_s=20.0, balance="shortest_predicted"
        ) as router,
    ):
        with router.client.stream(
            "POST", "/generate", json=generate_body("w " * 500, 150, stream=True)
        ) as long:
            first = long.headers["x-served-by"]
            # Both wait behind nothing but the long one, which is predicted to be long.
            others = {router.generate("w w", 3).json()["text"] for _ in range(3)}
            long.read()
        assert others == {"a", "b"} - {first}
        wait_until(lambda: len(predictor.told) == 4)
        lengths = {(told["output_tokens"], told["finished"]) for told in predictor.told}
        assert lengths == {(150, True), (3, True)}
        assert predictor.asked[0]["max_new_tokens"] == 150
        wait_until(lambda: router.metric("predictions_total", result="told") == 4)


def test_without_an_answer_in_time_requests_go_on() -> None:
    predictor = FakePredictor()
    with (
        served(predictor) as url,
        FakeSglang("a") as a,
        Router(a.url, predictor=url, predictor_deadline_s=0.1) as router,
    ):
        predictor.slow = True
        assert router.generate().status_code == 200
        assert router.metric("predictions_total", result="deadline") == 1
        predictor.slow, predictor.status = False, 503
        assert router.generate().status_code == 200
        wait_until(lambda: router.metric("predictions_total", result="failed") == 1)
        predictor.status, predictor.quantiles = 200, [1]
        assert router.generate().status_code == 200
        wait_until(lambda: router.metric("predictions_total", result="failed") == 2)
        assert predictor.told == []


def test_only_the_length_of_a_single_answer_is_told() -> None:
    """OpenAI's ``completion_tokens`` is the sum over ``n`` answers."""
    several: list[dict[str, Any]] = [
        {"n": 4},
        {"n": "4"},
        {"best_of": 2},
        {"sampling_params": {"n": 4}},
        {"prompt": ["a", "b"]},
    ]
    single: list[dict[str, Any]] = [{}, {"n": 1}, {"n": None}, {"sampling_params": {"n": 1}}]
    predictor = FakePredictor()
    with (
        served(predictor) as url,
        FakeSglang("a") as a,
        Router(a.url, predictor=url, predictor_deadline_s=20.0) as router,
    ):
        for more in several + single:
            router.client.post("/v1/completions", json={"prompt": "w w"} | more)
        wait_until(lambda: len(predictor.told) >= len(single))
    assert len(predictor.asked) == len(several + single)
    assert [told["key"] for told in predictor.told] == [f"key {n}" for n in range(6, 10)]


def test_nobody_is_asked_about_an_answer_without_output() -> None:
    predictor = FakePredictor()
    with served(predictor) as url, FakeSglang("a") as a:
        usage = {"usage": {"prompt_tokens": 5, "completion_tokens": 0}}
        embeddings = Route("/v1/embeddings", lambda _: JSONResponse(usage), methods=["POST"])
        a.app.router.routes.append(embeddings)
        with Router(a.url, predictor=url, predictor_deadline_s=20.0) as router:
            answer = router.client.post("/v1/embeddings", json={"input": "w w"})
            assert answer.json() == usage
            assert router.generate().status_code == 200
            wait_until(lambda: predictor.told)
    assert len(predictor.asked) == len(predictor.told) == 1
