"""The radix-cache hits that the waiting queue is ordered by: looked up for a few of the best only.

A hit decides what a request still has to prefill, and changes while it waits: others that share its
prompt are computed, or drive it out of the cache. A look-up walks the radix tree, so a pass asks
for a bounded number of those that may be admitted next, each again after some passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sagesched.gittins import RankEngine
from sagesched.plugin.place import Place

LOOK_UPS_PER_PASS = 2
VALID_PASSES = 32


def due(best: Sequence[Any], number: int) -> list[Any]:
    """Whose hit is looked up in this pass, of the best; noted on their places."""
    found = []
    for request in best:
        place: Place = request._sagesched_place
        if number - place.matched_in_pass >= VALID_PASSES and not place.opted_out:
            place.matched_in_pass = number
            found.append(request)
            if len(found) == LOOK_UPS_PER_PASS:
                break
    return found


def look_up(
    engine: RankEngine,
    requests: Sequence[Any],
    cached_prefix: Callable[[Any], int],
    size: Callable[[Any], tuple[int, int]],
) -> bool:
    """Rank requests by their hits of now; returns whether one was another.

    Args:
        engine: that they wait in.
        requests: whose hits are looked up.
        cached_prefix: does so; tokens.
        size: age and prompt of a request, tokens.
    """
    handles, hits = [], []
    for request in requests:
        place: Place = request._sagesched_place
        # After a retraction what was produced is prefilled again: it comes off the hit.
        hit = max(0, cached_prefix(request) - size(request)[0])
        if hit != place.hit:
            place.hit = hit
            handles.append(place.handle)
            hits.append(hit)
    if handles:
        engine.set_cached_prefix(handles, hits)
    return bool(handles)
