"""What differs between the SGLang releases we serve on: one function for each difference."""

from __future__ import annotations

import inspect
from typing import Any


def match_prefix(request: Any, tree_cache: Any) -> int:
    """A request's radix-cache hit of now, in tokens, as SGLang's own policies look it up."""
    try:
        from sglang.srt.mem_cache.common import match_kv_cache
    except ImportError:  # 0.5.20
        from sglang.srt.managers.schedule_policy import match_prefix_for_req

        match_prefix_for_req(tree_cache, request, include_req=True)
    else:
        match_kv_cache(request, tree_cache)
    return int(request.num_matched_prefix_tokens)


def keeps_kv_of_unfinished() -> bool:
    """Whether a running request can be released with its KV kept in the radix tree.

    0.5.20 keeps that of finished requests only, so there nobody is parked.
    """
    from sglang.srt.mem_cache.common import release_kv_cache

    return "checkpoint" in inspect.signature(release_kv_cache).parameters


def set_worker_app(app: str) -> str:
    """Have HTTP workers (several tokenizer workers) load another app; returns the one before."""
    from sglang.srt.environ import envs

    setting = getattr(envs, "SGLANG_HTTP_SERVER_APP_PATH", None)
    if setting is not None:
        before = str(setting.get())
        setting.set(app)
        return before
    from sglang.srt.entrypoints import http_server

    http_server.uvicorn = _OtherApp(http_server.uvicorn, app)  # 0.5.20 names its app in the call
    return f"{http_server.__name__}:app"


def replica_of(scheduler: Any) -> int:
    """A scheduler's data-parallel replica: SGLang answers with what they say in any order."""
    from sglang.srt.runtime_context import get_parallel

    context = get_parallel()
    rank = getattr(context, "dp_rank", None)
    if rank is None:  # 0.5.20 keeps it with the scheduler
        rank = getattr(getattr(scheduler, "ps", None), "dp_rank", None)
    return int(rank or 0)


def is_receiving_rank(scheduler: Any) -> bool:
    """Whether this rank of its replica receives requests, and sends them to the others."""
    ranks = getattr(scheduler, "ps", None)  # of 0.5.20
    if ranks is None:
        from sglang.srt.runtime_context import get_parallel

        ranks = get_parallel()
    return bool(ranks.pp_rank == ranks.attn_tp_rank == ranks.attn_cp_rank == 0)


def controller_loads_plugins() -> bool:
    """Whether the data-parallel controller's process loads plug-ins; that of 0.5.20 does not."""
    from sglang.srt.managers import data_parallel_controller

    return hasattr(data_parallel_controller, "load_plugins")


class _OtherApp:
    """uvicorn, but ``run`` loads our app where it was given one by name."""

    def __init__(self, uvicorn: Any, app: str) -> None:
        self._uvicorn, self._app = uvicorn, app

    def __getattr__(self, name: str) -> Any:
        return getattr(self._uvicorn, name)

    def run(self, app: Any, **kwargs: Any) -> Any:
        return self._uvicorn.run(self._app if isinstance(app, str) else app, **kwargs)
