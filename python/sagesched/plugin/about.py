"""What a request says of itself beside its prompt: model and adapter, tenant, limits."""

from __future__ import annotations

import hashlib
from typing import Any

from sagesched.predict.about import About
from sagesched.predict.features import options_of

LABEL = "label:"
TENANT_SOURCES = ("", "extra_key", "cache_salt", "routing_key", f"{LABEL}NAME")
"""Where a tenant can be taken from: a field of the request, or one of SGLang's custom labels."""

MAX_NAME_CHARS = 256
"""A longer name is cut: it may come from a client."""

MAX_LABEL_CHARS = 64
NEAR_THE_END = 16
"""Tokens; SGLang keeps a few of the context for itself."""

_SAMPLING = (
    "max_new_tokens",
    "temperature",
    "json_schema",
    "regex",
    "ebnf",
    "structural_tag",
)


def about_request(manager: Any, request: Any, tenant_source: str) -> About:
    """Of a tokenized request that is about to leave for the scheduler.

    Args:
        manager: SGLang's ``TokenizerManager``.
        request: the tokenized request.
        tenant_source: one of `TENANT_SOURCES`.
    """
    state = manager.rid_to_state.get(request.rid)
    received = None if state is None else state.obj
    params = request.sampling_params
    asked = {name: getattr(params, name, None) for name in _SAMPLING}
    prompt_tokens = len(getattr(request, "input_ids", None) or ())
    if _is_no_limit(asked["max_new_tokens"], prompt_tokens, manager):
        asked["max_new_tokens"] = None
    return About(
        _group(manager, request, received),
        _tenant(request, received, tenant_source)[:MAX_NAME_CHARS],
        options_of(asked),
    )


def tenant_label(source: str, tenant: str) -> str:
    """A tenant's name as it may be shown in metrics; of a salt, which is secret, a hash."""
    if source == "cache_salt" and tenant:
        return hashlib.blake2s(tenant.encode(errors="replace"), digest_size=4).hexdigest()
    return tenant[:MAX_LABEL_CHARS]


def _is_no_limit(limit: Any, prompt_tokens: int, manager: Any) -> bool:
    """Whether the context ends about first: then the limit says nothing, however large it is.

    SGLang itself sets such a limit for a chat request that has none.
    """
    context = getattr(getattr(manager, "model_config", None), "context_len", None)
    if not (isinstance(limit, int) and isinstance(context, int)):
        return False
    return limit + prompt_tokens + NEAR_THE_END >= context


def _group(manager: Any, request: Any, received: Any) -> str:
    """Whatever shifts all lengths: the model, its adapter, and whether it thinks aloud."""
    parts = [str(manager.served_model_name)]
    if getattr(request, "lora_id", None):
        adapter = getattr(received, "lora_path", None)  # the id is another one after a restart
        parts.append(adapter if isinstance(adapter, str) else str(request.lora_id))
    if getattr(request, "require_reasoning", False):
        parts.append("reasoning")
    return ":".join(parts)[:MAX_NAME_CHARS]


def _tenant(request: Any, received: Any, source: str) -> str:
    if source.startswith(LABEL):
        labels = getattr(received, "custom_labels", None) or {}
        return str(labels.get(source[len(LABEL) :], ""))
    return str(getattr(request, source, None) or "") if source else ""
