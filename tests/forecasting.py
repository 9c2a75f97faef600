"""Shared by the tests of forecasts of KV memory: requests of a certain length."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from sagesched.cost import CostModel
from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.plugin.place import Place

GRID = LengthGrid(2048)


def point(tokens: int) -> Any:
    """A length that is certain, to the bin."""
    pmf = np.zeros(len(GRID))
    pmf[GRID.bin_of(tokens)] = 1.0
    return pmf


def request(length: int, prompt: int = 100, age: int = 0, shared: int = 0) -> Any:
    """One with a place."""
    place = Place(0, 0, LengthDistribution(GRID, point(length)), CostModel())
    place.shared = shared
    return SimpleNamespace(
        origin_input_ids=[0] * prompt,
        output_ids=[0] * age,
        prefix_len=shared,
        full_untruncated_fill_ids=[0] * (prompt + age),
        sampling_params=SimpleNamespace(max_new_tokens=2000, ignore_eos=False),
        _sagesched_place=place,
    )
