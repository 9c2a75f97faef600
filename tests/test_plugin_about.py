"""What the plug-in reads of a request beside its prompt."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sagesched.plugin.about import (
    MAX_LABEL_CHARS,
    MAX_NAME_CHARS,
    TENANT_SOURCES,
    about_request,
    tenant_label,
)
from sagesched.predict.features import Options


def manager(**received: Any) -> Any:
    state = SimpleNamespace(obj=SimpleNamespace(**received))
    return SimpleNamespace(served_model_name="qwen", rid_to_state={"r": state})


def request(**fields: Any) -> Any:
    params = SimpleNamespace(max_new_tokens=7, temperature=0.2, regex="[a-z]")
    return SimpleNamespace(rid="r", sampling_params=params, **fields)


def test_the_group_is_model_adapter_and_reasoning() -> None:
    assert about_request(manager(), request(), "").group == "qwen"
    adapted = request(lora_id="8f3a")
    assert about_request(manager(lora_path="poems"), adapted, "").group == "qwen:poems"
    assert about_request(manager(lora_path=["poems"]), adapted, "").group == "qwen:8f3a"
    assert about_request(manager(), request(require_reasoning=True), "").group == "qwen:reasoning"


def test_options_are_those_of_the_sampling_parameters() -> None:
    assert about_request(manager(), request(), "").options == Options(7, 0.2, structured=True)


def test_a_tenant_is_taken_from_where_the_operator_says() -> None:
    sent = request(extra_key="a", cache_salt="b", routing_key="c")
    found = {s: about_request(manager(), sent, s).tenant for s in TENANT_SOURCES[:-1]}
    assert found == {"": "", "extra_key": "a", "cache_salt": "b", "routing_key": "c"}
    labelled = manager(custom_labels={"customer": "d"})
    assert about_request(labelled, sent, "label:customer").tenant == "d"
    assert about_request(labelled, sent, "label:other").tenant == ""
    assert about_request(manager(custom_labels=None), sent, "label:customer").tenant == ""
    assert about_request(manager(), request(extra_key=None), "extra_key").tenant == ""


def test_a_name_is_cut() -> None:
    sent = request(extra_key="x" * 10_000)
    assert len(about_request(manager(), sent, "extra_key").tenant) == MAX_NAME_CHARS


def test_an_unknown_request_is_known_by_what_it_carries() -> None:
    lost = SimpleNamespace(served_model_name="qwen", rid_to_state={})
    assert about_request(lost, request(cache_salt="b", lora_id="1"), "cache_salt").tenant == "b"


@pytest.mark.parametrize("value", [None, "warm", float("nan")])
def test_odd_sampling_parameters_are_no_options(value: object) -> None:
    sent = request()
    sent.sampling_params = SimpleNamespace(max_new_tokens=value, temperature=value)
    assert about_request(manager(), sent, "").options.max_new_tokens is None


@pytest.mark.parametrize(
    ("limit", "noted"), [(100, 100), (3000, 3000), (3980, None), (4096, None), (2**40, None)]
)
def test_a_limit_that_the_context_ends_before_says_nothing(limit: int, noted: int | None) -> None:
    of = manager()
    of.model_config = SimpleNamespace(context_len=4096)
    sent = request(input_ids=[1] * 100)
    sent.sampling_params = SimpleNamespace(max_new_tokens=limit)
    assert about_request(of, sent, "").options.max_new_tokens == noted


def test_a_tenant_is_shown_as_it_is_but_not_a_salt() -> None:
    assert tenant_label("extra_key", "acme") == "acme"
    assert tenant_label("cache_salt", "") == ""
    assert len(tenant_label("extra_key", "x" * 500)) == MAX_LABEL_CHARS
    shown = tenant_label("cache_salt", "secret")
    assert "secret" not in shown
    assert shown == tenant_label("cache_salt", "secret") != tenant_label("cache_salt", "other")
