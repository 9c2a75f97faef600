"""What balancing by the data-parallel controller refuses at start, by name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sagesched.plugin.balance_method import require_balance_mode
from sagesched.plugin.errors import NotInForceError

ARGS = {
    "dp_size": 2,
    "attn_dp_size": 1,
    "nnodes": 1,
    "disaggregation_mode": "null",
    "elastic_ep_backend": None,
    "grpc_mode": False,
    "smg_grpc_mode": False,
}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"dp_size": 1}, "--dp-size 1"),
        ({"dp_size": 1, "attn_dp_size": 2}, "DP attention"),
        ({"nnodes": 2}, "--nnodes"),
        ({"disaggregation_mode": "prefill"}, "--disaggregation-mode"),
        ({"elastic_ep_backend": "mooncake"}, "--elastic-ep-backend"),
        ({"smg_grpc_mode": True}, "--smg-grpc-mode"),
        ({"use_ray": True}, "--use-ray"),
    ],
)
def test_a_mode_it_cannot_serve_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    require_balance_mode("sal", SimpleNamespace(**ARGS))
    with pytest.raises(NotInForceError, match=named):
        require_balance_mode("sal", SimpleNamespace(**{**ARGS, **change}))


@pytest.mark.parametrize("name", ["SGLANG_RUST_SERVER", "SGLANG_LOAD_SNAPSHOT_USE_ZMQ"])
def test_so_is_an_environment_it_cannot_serve(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(NotInForceError, match=name):
        require_balance_mode("sal", SimpleNamespace(**ARGS))
