"""KV memory ran out while decoding: which requests keep running.

Under gittins the worst index per token held is retracted first, at the age of now: who holds much
is dear to compute again. With priority scheduling the last class goes first; who has had to wait
for too long before is kept. The index of running requests is computed only here, when a retraction
happens. Larry leaves it to SGLang: of running requests it knows nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sagesched.gittins import gittins_index
from sagesched.plugin import fallback
from sagesched.plugin.hook import Hook
from sagesched.plugin.place import place_of
from sagesched.plugin.timing import timed


@timed
def get_decode_retraction_order(original: Any, reqs: list[Any], *args: Any, **kwargs: Any) -> Any:
    """Indices into ``reqs``, the most worth keeping first (SGLang pops from the end)."""
    stock = original(reqs, *args, **kwargs)
    try:
        return _best_first(reqs, stock)
    except Exception as error:
        fallback.report("retraction", error)
        return stock


def _best_first(reqs: list[Any], stock: Any) -> Any:
    if not reqs or any(place_of(request) is None for request in reqs):
        return stock
    holder = reqs[0]._sagesched_place.holder
    if holder is None or not holder.in_force or not holder.predicts or holder.order is None:
        return stock
    if holder.memory is not None:
        holder.memory.retracted()
    indices = running_indices(reqs)
    places = [request._sagesched_place for request in reqs]
    held = [len(request.origin_input_ids) + len(request.output_ids) for request in reqs]
    keys = [
        (place.priority, not place.overdue, index / max(1, tokens))
        for place, index, tokens in zip(places, indices, held, strict=True)
    ]
    return sorted(stock, key=lambda i: keys[i])  # stable: ties stay in stock order


def running_indices(reqs: list[Any]) -> list[float]:
    """The Gittins index of every running request at its age of now; the median of those of the
    others for who opted out."""
    places = [request._sagesched_place for request in reqs]
    indices = gittins_index(
        np.stack([place.distribution.pmf for place in places]),
        places[0].distribution.grid.edges,
        np.array([len(request.output_ids) for request in reqs]),
        np.array([len(request.origin_input_ids) for request in reqs]),
        np.array([len(request.origin_input_ids) for request in reqs]),
        places[0].cost,
    )
    opted_out = np.array([place.opted_out for place in places])
    if opted_out.any():
        others = np.sort(indices[~opted_out])
        indices[opted_out] = others[len(others) // 2] if len(others) else 1.0
    return [float(value) for value in indices]


HOOK = Hook(
    target="sglang.srt.managers.schedule_batch.ScheduleBatch._get_decode_retraction_order",
    fn=get_decode_retraction_order,
    reason="retract the request with the worst index per token held, at its age of now",
    parameters=("reqs",),
)
