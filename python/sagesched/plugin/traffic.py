"""What is not traffic is neither predicted nor learned from."""

from __future__ import annotations

import sys
from typing import Any

HEALTH_CHECK_PREFIX = "HEALTH_CHECK"


def is_traffic(manager: Any, request: Any) -> bool:
    """Whether a tokenized request is a user's.

    Not traffic: health checks, the extra prefill of n > 1 sampling (0 new tokens), embedding
    requests, and what an HTTP server sends itself before it is up.
    """
    if str(request.rid).startswith(HEALTH_CHECK_PREFIX):
        return False
    if getattr(request.sampling_params, "max_new_tokens", None) == 0:
        return False
    if not manager.is_generation:
        return False
    return not _is_warming_up(manager)


def _is_warming_up(manager: Any) -> bool:
    """Whether an HTTP server runs its start-up requests; an ``Engine`` has none.

    Of several workers one serves while another, or its successor, warms up: there users' requests
    come meanwhile, and the few of the warm-up are predicted and learned with them.
    """
    if manager.server_args.tokenizer_worker_num > 1:
        return False
    http_server = sys.modules.get("sglang.srt.entrypoints.http_server")
    if http_server is None or getattr(http_server, "_global_state", None) is None:
        return False
    return bool(manager.server_status.name == "Starting")
