"""The predictor service's routes: what they answer, what they learn, what they refuse."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from sagesched.predict import Embedder
from sagesched.predictor_service.engine import MOST_PENDING
from sagesched.predictor_service.guard import MAX_BODY_BYTES
from sagesched.predictor_service.schema import MAX_LIST

from .prediction import ScriptedEmbedder
from .predictor_service import CONTRACT, Application, application, embedder, make_application

__all__ = ["application", "embedder", "make_application"]

SECRET = "my password is swordfish"


def teach(application: Application, prompt: str, tokens: int, n: int, **more: Any) -> None:
    for at in range(n):
        outcome = {"prompt": f"{prompt} {at}", "output_tokens": tokens, **more}
        assert application.post("/ingest", outcome).json() == {"accepted": 1}
    application.settle()


def test_the_answer_has_the_contract_fields(application: Application) -> None:
    answer = application.post("/predict", {"prompt": "Write a poem about the sea."})
    assert answer.status_code == 200
    found = answer.json()
    assert set(found) == CONTRACT
    assert found["fallback_level"] == "cold-start"
    assert found["size_bucket"] == "medium"
    assert found["confidence_score"] == 0.0
    assert found["quantiles"]["0.5"] == found["expected_output_tokens_p50"]
    assert found["quantiles"]["0.9"] == found["expected_output_tokens_p90"]


def test_outcomes_by_key_are_learned(application: Application) -> None:
    for n in range(60):
        prompt, tokens = (f"say hi {n}", 10) if n % 2 else (f"write an essay {n}", 1000)
        key = application.post("/predict", {"prompt": prompt}).json()["key"]
        application.post("/ingest", {"key": key, "output_tokens": tokens})
    application.settle()
    short = application.post("/predict", {"prompt": "say hi 99"}).json()
    long = application.post("/predict", {"prompt": "write an essay 98"}).json()
    assert (short["size_bucket"], long["size_bucket"]) == ("short", "long")
    assert short["confidence_score"] > 0.3


def test_unfinished_outputs_count_as_longer(application: Application) -> None:
    teach(application, "tell a story", 100, 40, finished=False)
    found = application.post("/predict", {"prompt": "tell a story 50"}).json()
    assert found["expected_output_tokens_p50"] > 100


def test_models_differ(application: Application) -> None:
    teach(application, "explain", 20, 40, model="terse")
    teach(application, "explain", 2000, 40, group="lengthy")
    medians = [
        application.post("/predict", {"prompt": "explain 50", "model": model}).json()[
            "expected_output_tokens_p50"
        ]
        for model in ("terse", "lengthy")
    ]
    assert medians[0] < 100 < 500 < medians[1]
    found = application.get("/models").json()
    assert found["records"] == 80
    assert found["embedder"] == "hashed"
    assert found["models"] == [
        {"model": "lengthy", "records": 40},
        {"model": "terse", "records": 40},
    ]


def test_a_limit_cuts_the_prediction(application: Application) -> None:
    for body in ({"max_new_tokens": 16}, {"max_tokens": 16}, {"prompt_tokens": 4096 - 16}):
        found = application.post("/predict", {"prompt": "hello", **body}).json()
        assert found["quantiles"]["0.99"] == 16


def test_lists_are_answered_in_order(application: Application) -> None:
    limits = list(range(1, 40))
    bodies = [{"prompt": f"p {n}", "max_new_tokens": n} for n in limits]
    found = application.post("/predict", bodies).json()
    assert [answer["quantiles"]["0.99"] for answer in found] == limits
    outcomes = [{"key": answer["key"], "output_tokens": 5} for answer in found]
    assert application.post("/ingest", outcomes).json() == {"accepted": len(limits)}
    application.settle()
    assert application.engine.snapshot().recorded == len(limits)


def test_token_ids_are_a_prompt(application: Application) -> None:
    found = application.post("/predict", {"prompt": [5, 6, 7] * 1000})
    assert found.status_code == 200
    assert found.json()["quantiles"]["0.99"] <= 4096 - 3000


@pytest.mark.parametrize(
    "body",
    [
        {"key": "nobody knows it", "output_tokens": 5},
        [{"prompt": "fine", "output_tokens": 5}, {"key": "\ud800", "output_tokens": 5}],
    ],
)
def test_an_unknown_key_is_404_and_nothing_is_learned(application: Application, body: Any) -> None:
    answer = application.request(
        "POST", "/ingest", content=json.dumps(body), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 404
    assert "unknown" in answer.json()["detail"]
    application.settle()
    assert application.engine.snapshot().recorded == 0


def test_a_key_is_good_for_one_outcome(application: Application) -> None:
    key = application.post("/predict", {"prompt": "once"}).json()["key"]
    outcome = {"key": key, "output_tokens": 5}
    assert application.post("/ingest", [outcome, outcome]).status_code == 404
    assert application.post("/ingest", outcome).status_code == 200
    assert application.post("/ingest", outcome).status_code == 404


BAD_PREDICT = [
    {},
    {"prompt": None},
    {"prompt": 5},
    {"prompt": ["a"]},
    {"prompt": [-1]},
    {"prompt": [True]},
    {"prompt": [1.5]},
    {"prompt": {"a": 1}},
    {"prompt": "x", "max_new_tokens": 0},
    {"prompt": "x", "max_new_tokens": "5"},
    {"prompt": "x", "max_new_tokens": 2**31},
    {"prompt": "x", "max_new_tokens": 10**400},
    {"prompt": "x", "max_new_tokens": 5, "max_tokens": 5},
    {"prompt": "x", "temperature": -1},
    {"prompt": "x", "temperature": float("nan")},
    {"prompt": "x", "temperature": float("inf")},
    {"prompt": "x", "structured": 1},
    {"prompt": "x", "prompt_tokens": -1},
    {"prompt": "x", "model": "m" * 257},
    {"prompt": "x", "tenant": 5},
    {"prompt": "x", "temprature": 1},
    [],
    [{"prompt": "x"}] * (MAX_LIST + 1),
    [[]],
    "x",
    5,
    None,
    True,
]
BAD_INGEST = [
    {},
    {"output_tokens": 5},
    {"key": "a"},
    {"prompt": "a"},
    {"key": "a", "prompt": "a", "output_tokens": 5},
    {"prompt": "a", "output_tokens": -1},
    {"prompt": "a", "output_tokens": 1.5},
    {"prompt": "a", "output_tokens": float("nan")},
    {"prompt": "a", "output_tokens": True},
    {"prompt": "a", "output_tokens": 2**31},
    {"prompt": "a", "output_tokens": 5, "finished": "yes"},
    {"key": 5, "output_tokens": 5},
    [],
    [{"prompt": "x", "output_tokens": 1}] * (MAX_LIST + 1),
]


@pytest.mark.parametrize(
    ("path", "body"),
    [("/predict", body) for body in BAD_PREDICT] + [("/ingest", body) for body in BAD_INGEST],
)
def test_bad_bodies_are_422_with_a_reason(application: Application, path: str, body: Any) -> None:
    answer = application.request(
        "POST", path, content=json.dumps(body), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422, answer.text
    assert 1 <= len(answer.json()["detail"]) <= 10
    assert all(problem["msg"] for problem in answer.json()["detail"])
    application.settle()
    assert application.engine.snapshot().recorded == 0


def test_what_is_no_json_is_refused(application: Application) -> None:
    headers = {"content-type": "application/json"}
    for content in (b'{"prompt": ', b"\xff\xfe\xff", b"[" * 100_000, b"", b"1" * 5000):
        answer = application.request("POST", "/predict", content=content, headers=headers)
        assert answer.status_code in (400, 422), content[:20]
    plain = {"content-type": "text/plain"}
    answer = application.request("POST", "/predict", content=b'{"prompt": "x"}', headers=plain)
    assert answer.status_code == 422  # what a web page could send without being asked


def test_a_large_prompt_is_taken_and_a_huge_body_refused(application: Application) -> None:
    assert application.post("/predict", {"prompt": "a" * 2**20}).status_code == 200
    answer = application.post("/predict", {"prompt": "a" * MAX_BODY_BYTES})
    assert answer.status_code == 413
    assert str(MAX_BODY_BYTES) in answer.json()["detail"]


def test_many_wrong_ids_cost_one_error(application: Application) -> None:
    answer = application.post("/predict", {"prompt": ["x"] * 100_000})
    assert answer.status_code == 422
    assert len(answer.content) < 1000


def test_other_paths_and_methods(application: Application) -> None:
    assert application.get("/nothing").status_code == 404
    assert application.get("/predict").status_code == 405
    assert application.post("/health", {}).status_code == 405


def test_not_ready_and_failed_are_503(
    make_application: Callable[..., Application], embedder: ScriptedEmbedder
) -> None:
    def slow() -> Embedder:
        embedder.entered.set()
        embedder.gate.wait()
        return embedder

    embedder.gate.clear()
    starting = make_application(slow)
    assert starting.get("/health").status_code == 503
    assert starting.get("/health").json()["status"] == "starting"
    answer = starting.post("/predict", {"prompt": "x"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    embedder.gate.set()
    assert starting.wait().get("/health").json() == {"status": "ready", "reason": ""}

    def broken() -> Embedder:
        raise RuntimeError(SECRET)

    failed = make_application(broken).wait("failed")
    health = failed.get("/health")
    assert health.status_code == 503
    assert "RuntimeError" in health.json()["reason"]
    for answer in (failed.get("/models"), failed.post("/predict", {"prompt": "x"})):
        assert answer.status_code == 503
        assert "could not be built" in answer.json()["detail"]


def test_after_the_deadline_the_prior_answers(
    make_application: Callable[..., Application], embedder: ScriptedEmbedder
) -> None:
    application = make_application(deadline_s=1.0).wait()
    teach(application, "say hi", 4, 40)
    application.post("/predict", {"prompt": "warm"})
    embedder.gate.clear()
    late = application.post("/predict", {"prompt": "say hi 77"}).json()
    assert late["fallback_level"] == "deadline"
    assert late["expected_output_tokens_p50"] < 100  # the law of all requests, not the default's
    embedder.gate.set()
    outcome = {"key": late["key"], "output_tokens": 4}
    assert application.post("/ingest", outcome).status_code == 200  # learned all the same
    page = application.get("/metrics").text
    assert 'sagesched_predictor_answers_total{fallback_level="deadline"} 1.0' in page
    assert 'sagesched_predictor_predictions_total{result="deadline_misses"} 1.0' in page


def test_an_error_in_the_predictor_is_no_error_of_the_service(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="sagesched"):
        found = application.post("/predict", [{"prompt": f"boom {SECRET}"}, {"prompt": "fine"}])
    assert [answer["fallback_level"] for answer in found.json()] == ["unavailable", "cold-start"]
    assert "RuntimeError" in caplog.text
    assert SECRET not in caplog.text


def test_an_unexpected_error_is_a_500_without_its_message(
    application: Application, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(application.engine, "models", broken)
    answer = application.get("/models")
    assert answer.status_code == 500
    assert "RuntimeError at test_predictor_service_routes.py" in caplog.text
    assert SECRET not in caplog.text + answer.text


def test_the_event_loop_never_waits_for_a_prediction(
    application: Application, embedder: ScriptedEmbedder
) -> None:
    async def serve() -> list[float]:
        async with application.client() as client:
            await client.get("/health")
            embedder.gate.clear()
            waiting = [
                asyncio.create_task(client.post("/predict", json={"prompt": f"p {n}"}))
                for n in range(20)
            ]
            await asyncio.sleep(0.05)
            taken = []
            for _ in range(20):
                began = time.perf_counter()
                assert (await client.get("/health")).status_code == 200
                taken.append(time.perf_counter() - began)
            assert not any(task.done() for task in waiting)
            embedder.gate.set()
            assert all(answer.status_code == 200 for answer in await asyncio.gather(*waiting))
            return taken

    assert sorted(application.runner.run(serve()))[10] < 0.1


def test_long_lists_of_outcomes_leave_room_for_predictions(
    application: Application, embedder: ScriptedEmbedder
) -> None:
    outcomes = [{"prompt": f"p {n}", "output_tokens": n} for n in range(200)]

    async def serve() -> None:
        async with application.client() as client:
            embedder.gate.clear()
            ingesting = asyncio.create_task(client.post("/ingest", json=outcomes))
            await asyncio.sleep(0.1)
            assert application.engine.snapshot().pending <= MOST_PENDING + 1
            assert not ingesting.done()
            embedder.gate.set()
            assert (await ingesting).json() == {"accepted": 200}

    application.runner.run(serve())
    application.settle()
    assert application.engine.snapshot().recorded == 200


def test_metrics_count_requests(application: Application) -> None:
    application.post("/predict", {"prompt": "x"})
    application.post("/predict", {})
    application.get("/a/path/of/a/stranger")
    answer = application.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    for line in (
        'sagesched_predictor_requests_total{path="/predict",status="200"} 1.0',
        'sagesched_predictor_requests_total{path="/predict",status="422"} 1.0',
        'sagesched_predictor_requests_total{path="other",status="404"} 1.0',
        'sagesched_predictor_request_seconds_count{path="/predict"} 2.0',
        'sagesched_predictor_predictions_total{result="predictions"} 1.0',
        "sagesched_predictor_history_records 0.0",
    ):
        assert line in answer.text


def test_the_openapi_page_describes_the_contract(application: Application) -> None:
    page = application.get("/openapi.json").json()
    assert {"/predict", "/ingest", "/models", "/health", "/metrics"} <= set(page["paths"])
    prediction = page["components"]["schemas"]["Prediction"]
    assert set(prediction["required"]) == CONTRACT
    assert {"401", "413", "422", "503"} <= set(page["paths"]["/predict"]["post"]["responses"])
    assert "404" in page["paths"]["/ingest"]["post"]["responses"]
    assert "text/plain" in page["paths"]["/metrics"]["get"]["responses"]["200"]["content"]


def test_the_openapi_page_names_the_token(application: Application) -> None:
    page = application.get("/openapi.json").json()
    (scheme,) = page["components"]["securitySchemes"].items()
    assert (scheme[1]["type"], scheme[1]["scheme"]) == ("http", "bearer")
    for path, methods in page["paths"].items():
        for operation in methods.values():
            asks = operation.get("security", []) == [{scheme[0]: []}]
            assert asks == ("401" in operation["responses"]) == (path != "/health")


@pytest.mark.parametrize(("name", "other"), [("model", "group"), ("max_new_tokens", "max_tokens")])
def test_a_field_goes_by_either_name_as_the_openapi_page_says(
    application: Application, name: str, other: str
) -> None:
    schemas = application.get("/openapi.json").json()["components"]["schemas"]
    value: object = "m" if name == "model" else 9
    for body in ("Asked", "PromptOutcome"):
        assert schemas[body]["additionalProperties"] is False
        assert {name, other} <= set(schemas[body]["properties"])
        assert {"required": [name, other]} in schemas[body]["not"]["anyOf"]
    assert application.post("/predict", {"prompt": "a", other: value}).status_code == 200
    both = {"prompt": "a", name: value, other: value}
    assert application.post("/predict", both).status_code == 422


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b'{"prompt": "\xff"}', 400),
        (b"[" * 50_000, 400),
        (b'{"prompt": "a", "max_new_tokens": ' + b"9" * 5_000 + b"}", 400),
        (b"", 422),
        (b"\0", 422),
        (b'{"prompt": "a"} x', 422),
    ],
    ids=["bytes", "nested", "digits", "empty", "zero", "trailing"],
)
def test_what_is_no_json_gets_the_status_that_the_page_names(
    application: Application, content: bytes, status: int
) -> None:
    headers = {"content-type": "application/json"}
    answer = application.request("POST", "/predict", content=content, headers=headers)
    assert answer.status_code == status
    operation = application.get("/openapi.json").json()["paths"]["/predict"]["post"]
    said = operation["responses"][str(status)]["description"]
    assert ("decoded" if status == 400 else "no JSON") in said
