"""Running requests by the keys they would have if they waited: who of them would come last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sagesched.cost import CostModel
from sagesched.gittins import RankEngine
from sagesched.lengths import LengthGrid
from sagesched.plugin.anchor import Keys


class RunningOrder:
    """Ranks a batch when asked; between two calls it holds nobody.

    Args:
        grid: of all predictions.
        cost: what a request costs.
    """

    def __init__(self, grid: LengthGrid, cost: CostModel) -> None:
        self._engine = RankEngine(grid.edges, cost, index_weight=0.0)

    def worst_first(self, running: Sequence[Any], keys: Keys) -> list[tuple[float, Any]]:
        """Requests and their keys, at their ages of now, as if nothing were to prefill."""
        if not running:
            return []
        engine = self._engine
        engine.set_index_weight(keys.weight)
        engine.set_index_band(keys.low, keys.high)
        engine.set_lead_scale(keys.spared)
        places = [request._sagesched_place for request in running]
        prompts = [len(request.origin_input_ids) for request in running]
        masses = np.concatenate([place.distribution.pmf for place in places])
        handles = engine.add_batch(
            masses.reshape(len(places), -1),
            prompts,
            [place.since for place in places],
            age=[len(request.output_ids) for request in running],
            cached_len=prompts,
            lead=[place.lead for place in places],
        )
        found = dict(zip(handles.tolist(), running, strict=True))
        worst = engine.top(len(running))[::-1]
        ranked_by = engine.keys(worst).tolist()
        engine.remove(handles)
        return [(key, found[handle]) for key, handle in zip(ranked_by, worst.tolist(), strict=True)]
