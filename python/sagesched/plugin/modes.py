"""Server modes in which the policy could not do what it says; refused at start.

A mode leaves this list when it is tested for real.
"""

from __future__ import annotations

import os
from typing import Any

from sagesched.plugin.errors import NotInForceError

HEADLESS = "SMG_SGLANG_ZMQ_HANDSHAKE"
"""Set by ``python -m smg_grpc_servicer.sglang.headless``."""


def require_supported_mode(server_args: Any) -> None:
    """Check SGLang's ``ServerArgs`` against the modes we cannot serve yet.

    Raises:
        NotInForceError: naming the option and what to use instead.
    """
    reasons = [reason for refused, reason in _refusals(server_args) if refused]
    if reasons:
        raise NotInForceError(
            f"--schedule-policy {server_args.schedule_policy} "
            "does not work with this server mode yet:\n"
            + "\n".join(f"  {reason}" for reason in reasons)
            + "\nChange that option, or serve with another --schedule-policy."
        )


def _refusals(args: Any) -> list[tuple[bool, str]]:
    return [
        (
            getattr(args, "use_ray", False),
            "--use-ray: SGLang's Ray actors load no plug-ins (Ray Serve: docs/balance_deploy.md)",
        ),
        (
            bool(getattr(args, "dllm_algorithm", None)),
            "--dllm-algorithm: a diffusion model's batches are made past our hooks; use fcfs",
        ),
        (
            bool(os.environ.get(HEADLESS)),
            f"smg's headless ranks ({HEADLESS}): not tested; use --smg-grpc-mode",
        ),
    ]
