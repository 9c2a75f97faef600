"""Ours among the values of ``--load-balance-method``, and where they can be in force."""

from __future__ import annotations

import os
from typing import Any

from sagesched.plugin.errors import NotInForceError

FLAG = "--load-balance-method"
SAL, SAL_PROMPT = "sal", "sal-prompt"
METHODS = (SAL, SAL_PROMPT)
"""Each is the name of a chooser of ``sagesched.balance``, too."""
BENEATH = "total_tokens"
"""SGLang's own method underneath: what it keeps books of is what ours falls back on."""


def is_balanced(server_args: Any) -> bool:
    """Whether a server of these arguments asks for one of ours."""
    return getattr(server_args, "load_balance_method", None) in METHODS


def require_balance_mode(method: str, args: Any) -> None:
    """Check resolved server arguments against what our dispatch can serve.

    Raises:
        NotInForceError: naming each option that stands against it, and what to use instead.
    """
    reasons = [reason for refused, reason in _refusals(args) if refused]
    if reasons:
        raise NotInForceError(
            f"{FLAG} {method} cannot be in force with this server mode:\n"
            + "\n".join(f"  {reason}" for reason in reasons)
            + f"\nChange that option, or serve with another {FLAG}."
        )


def _refusals(args: Any) -> list[tuple[bool, str]]:
    return [
        (
            args.attn_dp_size > 1,
            "DP attention (--attn-dp-size, --enable-dp-attention): its ranks run in step",
        ),
        (
            args.dp_size < 2 and args.attn_dp_size < 2,
            "--dp-size 1: there is only one replica, and so nothing to choose",
        ),
        (args.nnodes > 1, "--nnodes: replicas on several machines are not tested"),
        (
            args.disaggregation_mode != "null",
            "--disaggregation-mode: there the pair of servers decides where a request goes",
        ),
        (args.elastic_ep_backend is not None, "--elastic-ep-backend: its replicas come and go"),
        (
            args.grpc_mode or args.smg_grpc_mode,
            "--grpc-mode, --smg-grpc-mode: there lengths are predicted after the choice",
        ),
        (
            getattr(args, "use_ray", False),
            "--use-ray: SGLang's Ray actors load no plug-ins (Ray Serve: sagesched.balance.ray)",
        ),
        (_is_on("SGLANG_RUST_SERVER"), "SGLANG_RUST_SERVER: that front end is not tested with it"),
        (
            _is_on("SGLANG_LOAD_SNAPSHOT_USE_ZMQ"),
            "SGLANG_LOAD_SNAPSHOT_USE_ZMQ: loads are read from shared memory",
        ),
    ]


def _is_on(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("1", "true", "yes", "y", "t", "on")
