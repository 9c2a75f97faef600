"""Whatever is sent, the answer is the contract or a 4xx with a reason; never a 500."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sagesched.predict.hashed import HashedEmbedder

from .predictor_service import CONTRACT, Application

JSON = {"content-type": "application/json"}
FIELDS = ("prompt", "model", "group", "tenant", "max_new_tokens", "temperature", "structured")
FIELDS += ("tools", "prompt_tokens", "key", "output_tokens", "finished")

texts = st.text(st.characters(codec=None), max_size=40)  # control characters and lone surrogates
numbers = st.integers() | st.floats() | st.integers(-5, 5000)
anything = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
bodies = st.dictionaries(st.sampled_from(FIELDS) | texts, anything, max_size=6)


@pytest.fixture(scope="module")
def application() -> Iterator[Application]:
    made = Application(HashedEmbedder, deadline_s=30.0)
    yield made.wait()
    made.close()


def quick(test: Callable[..., None]) -> Any:
    return settings(
        max_examples=150,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )(test)


def send(application: Application, path: str, content: bytes, **headers: str) -> None:
    answer = application.request("POST", path, content=content, headers={**JSON, **headers})
    assert answer.status_code in (200, 400, 404, 413, 422), (answer.status_code, answer.text)
    if answer.status_code != 200:
        assert answer.json()["detail"]


@quick
@given(path=st.sampled_from(["/predict", "/ingest"]), body=bodies | st.lists(bodies, max_size=3))
def test_any_json(application: Application, path: str, body: Any) -> None:
    send(application, path, json.dumps(body).encode())


@quick
@given(path=st.sampled_from(["/predict", "/ingest"]), body=st.binary(max_size=200))
def test_any_bytes(application: Application, path: str, body: bytes) -> None:
    send(application, path, body)


@quick
@given(prompt=texts, model=texts, tenant=texts, tokens=st.integers(0, 2**31 - 1))
def test_any_text_is_predicted_and_learned(
    application: Application, prompt: str, model: str, tenant: str, tokens: int
) -> None:
    body = {"prompt": prompt, "model": model, "tenant": tenant}
    content = json.dumps(body).encode()
    answer = application.request("POST", "/predict", content=content, headers=JSON)
    assert answer.status_code == 200
    assert set(answer.json()) == CONTRACT
    assert answer.json()["fallback_level"] not in ("deadline", "unavailable")
    content = json.dumps({**body, "output_tokens": tokens, "finished": tokens > 9}).encode()
    assert application.request("POST", "/ingest", content=content, headers=JSON).status_code == 200
    assert application.get("/models").status_code == 200


@pytest.mark.parametrize("prompt", ["", " " * 1000, "\x00" * 1000, "語" * 300_000, "\ud800" * 99])
def test_odd_prompts(application: Application, prompt: str) -> None:
    content = json.dumps({"prompt": prompt}).encode()
    answer = application.request("POST", "/predict", content=content, headers=JSON)
    assert answer.status_code == 200
    application.settle()
    assert application.engine.snapshot().errors == 0
