"""The private field that carries a prediction: a client can neither forge nor break it."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.plugin.wire import (
    PRIVATE_KEY,
    SENT_KEY,
    TENANT_KEY,
    Wishes,
    attach,
    detach,
    detach_wishes,
    strip,
)

GRID = LengthGrid(512)
FLAT = LengthDistribution(GRID, np.full(len(GRID), 1 / len(GRID)))

FORGED: list[Any] = [
    None,
    True,
    7,
    "short",
    [],
    {},
    [0.5],
    [1.0] * len(GRID),
    [float("nan")] * len(GRID),
    [float("inf")] + [0.0] * (len(GRID) - 1),
    [-1.0, 2.0] + [0.0] * (len(GRID) - 2),
    [1e308] * len(GRID),
    ["1"] + [0.0] * (len(GRID) - 1),
    [0.0] * len(GRID),
    [1.0] + [0.0] * 1_000_000,
    {"a": 1.0},
]


def params(custom: Any) -> Any:
    return SimpleNamespace(custom_params=custom)


@pytest.mark.parametrize("custom", [None, {}, {"n": 5, "eos": 2}])
def test_round_trip_leaves_the_request_as_the_client_sent_it(custom: Any) -> None:
    request = params(None if custom is None else dict(custom))
    attach(request, FLAT)
    request.custom_params = json.loads(json.dumps(request.custom_params))  # plain JSON only
    found = detach(request, GRID)
    assert found is not None
    assert np.allclose(found.pmf, FLAT.pmf, rtol=1e-12)
    assert (request.custom_params or None) == (custom or None)
    assert detach(request, GRID) is None


@pytest.mark.parametrize("forged", FORGED, ids=lambda v: repr(v)[:20])
def test_what_a_client_writes_is_dropped_before_ours_is_set(forged: Any) -> None:
    request = params({PRIVATE_KEY: forged, "n": 5})
    attach(request, FLAT)
    found = detach(request, GRID)
    assert found is not None
    assert np.allclose(found.pmf, FLAT.pmf, rtol=1e-12)
    request = params({PRIVATE_KEY: forged, "n": 5})
    attach(request, None)
    assert request.custom_params == {"n": 5}


@pytest.mark.parametrize("forged", FORGED, ids=lambda v: repr(v)[:20])
def test_what_reaches_the_scheduler_is_checked_again(forged: Any) -> None:
    request = params({PRIVATE_KEY: forged, "n": 5})
    with pytest.raises(ValueError, match=r"\S"):
        detach(request, GRID)
    assert request.custom_params == {"n": 5}, "a malformed field must still be removed"


@pytest.mark.parametrize("custom", [7, "x", [1, 2], True])
def test_custom_params_of_a_wrong_type_are_left_to_sglang(custom: Any) -> None:
    request = params(custom)
    attach(request, FLAT)
    assert request.custom_params == custom
    assert detach(request, GRID) is None


def test_attach_does_not_touch_a_dict_that_is_shared() -> None:
    shared = {"n": 5}
    attach(params(shared), FLAT)
    assert shared == {"n": 5}


@pytest.mark.parametrize("wish", [None, 7, True, "on", "OFF", ["off"], {"off": 1}])
def test_a_malformed_wish_is_as_if_it_were_not_there(wish: Any) -> None:
    request = params({"sagesched": wish, "n": 5})
    assert detach_wishes(request) == Wishes()
    assert request.custom_params == {"n": 5}


@pytest.mark.parametrize("custom", [{}, {"__req__": 1}, {"n": 5}, None, "text", [1]])
def test_where_nothing_was_asked_for_the_fields_stay_as_they_are(custom: Any) -> None:
    request = params(custom)
    assert detach_wishes(request) == Wishes()
    assert request.custom_params is custom


@pytest.mark.parametrize("custom", [None, {"n": 5}])
def test_wish_tenant_and_prediction_travel_together_and_leave_no_trace(custom: Any) -> None:
    request = params({**(custom or {}), "sagesched": "off", TENANT_KEY: "forged"})
    attach(request, FLAT, "tenant", 12.5)
    request.custom_params = json.loads(json.dumps(request.custom_params))
    assert detach_wishes(request) == Wishes(True, "tenant", 12.5)
    assert detach(request, GRID) is not None
    assert request.custom_params == custom


def test_a_forged_tenant_is_dropped_and_one_of_a_wrong_type_ignored() -> None:
    request = params({TENANT_KEY: "forged"})
    attach(request, None)
    assert detach_wishes(request) == Wishes()
    assert detach_wishes(params({TENANT_KEY: ["a"]})) == Wishes()


def test_a_forged_time_is_dropped_and_one_that_is_none_ignored() -> None:
    request = params({SENT_KEY: 1e18})
    attach(request, FLAT)
    assert detach_wishes(request) == Wishes()
    for value in (None, True, 5, "now", math.inf, math.nan, -1.0, [1.0]):
        assert detach_wishes(params({SENT_KEY: value})) == Wishes()


def test_all_of_it_can_be_taken_out_unread() -> None:
    ours = {PRIVATE_KEY: "x", TENANT_KEY: 5, SENT_KEY: 1.0}
    request = params({**ours, "sagesched": "off", "n": 5})
    strip(request)
    assert request.custom_params == {"n": 5}
    strip(params(None))
