"""How long a rare large prompt waits among small ones: what ``docs/larry.md`` says of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .test_larry_order import Engine

WAITING = 50
DOC = Path(__file__).parents[1] / "docs" / "larry.md"


@pytest.mark.parametrize(
    ("kv_use", "waits"), [(0.0, (113, 155, 261, 763)), (1.0, (122, 256, 463, 1441))]
)
def test_it_is_served_after_so_many_others(kv_use: float, waits: tuple[int, ...]) -> None:
    found = []
    for prompt in (500, 2_000, 8_000, 32_000):
        engine, number = Engine(1.0, kv_use), WAITING
        for i in range(WAITING):
            engine.arrive(f"small {i}", 50)
        for _ in range(2000):
            engine.serve()
            engine.arrive(f"small {number}", 50)
            number += 1
        large, served = engine.arrive("large", prompt), 0
        while engine.serve() is not large:
            served += 1
            engine.arrive(f"small {number + served}", 50)
        found.append(served)
    assert tuple(found) == waits
    said = set(re.findall(r"[0-9,]+[0-9]", DOC.read_text()))
    assert {f"{count:,}" for count in found} <= said
