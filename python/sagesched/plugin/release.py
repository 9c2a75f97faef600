"""Taking running requests out of the batch, their KV kept in the radix tree."""

from __future__ import annotations

from typing import Any


def release_to_tree(batch: Any, victims: list[Any]) -> None:
    """As SGLang retracts, but the KV is published to the tree, where it may be evicted.

    Whatever happens, the batch holds afterwards exactly those whose KV it still holds.
    """
    from sglang.srt.mem_cache.common import release_kv_cache

    try:
        for request in victims:
            release_kv_cache(request, batch.tree_cache, checkpoint=True)
            request.reset_for_retract()
    finally:
        released = {id(request) for request in victims if request.is_retracted}
        keep = [i for i, request in enumerate(batch.reqs) if id(request) not in released]
        if len(keep) < len(batch.reqs):
            batch.filter_batch(keep_indices=keep)
            batch.batch_is_full = False
