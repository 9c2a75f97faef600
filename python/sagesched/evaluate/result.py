"""What an evaluation found: scores of each method, by part of the traffic and over time."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from sagesched.evaluate.scoring import Columns, Some

PIT_BINS = 10
WINDOWS = 10
LEAST_IN_WINDOW = 50
LEVELS = np.linspace(0.05, 0.95, 19)


@dataclass(frozen=True)
class Result:
    """Of one stream.

    Attributes:
        about: what was evaluated, and how.
        notes: what was left out or assumed, as sentences.
        groups, tenants: of the scored requests, in order of time.
        columns: by method, of the same requests.
    """

    about: dict[str, str]
    notes: list[str]
    groups: list[str]
    tenants: list[str]
    columns: dict[str, Columns] = field(default_factory=dict)

    def windows(self) -> list[slice]:
        """Up to ten equal parts of the requests, in order of time."""
        n = len(self.groups)
        parts = max(1, min(WINDOWS, n // LEAST_IN_WINDOW))
        bounds = np.linspace(0, n, parts + 1).astype(int).tolist()
        return [slice(start, end) for start, end in pairwise(bounds)]

    def by_group(self) -> dict[str, Some]:
        """The requests of each group, largest first; empty where there is only one."""
        return _parts(self.groups)

    def by_tenant(self) -> dict[str, Some]:
        """The same of tenants."""
        return _parts(self.tenants)


def _parts(names: list[str]) -> dict[str, Some]:
    counts = Counter(names)
    if len(counts) < 2:
        return {}
    all_names = np.array(names, dtype=object)
    return {name: np.flatnonzero(all_names == name) for name, _ in counts.most_common()}


def as_json(result: Result) -> dict[str, Any]:
    """Everything, for ``json.dumps``."""
    return {
        "about": result.about,
        "notes": result.notes,
        "methods": {name: _of_method(result, found) for name, found in result.columns.items()},
    }


def _of_method(result: Result, columns: Columns) -> dict[str, Any]:
    def of(some: Some) -> dict[str, Any]:
        return asdict(columns[some].score())

    reached = columns.reached(LEVELS)
    return {
        **of(slice(None)),
        "pit": columns.pit(PIT_BINS).tolist(),
        "quantiles": {f"{level:.2f}": share for level, share in zip(LEVELS, reached, strict=True)},
        "by_group": {name: of(some) for name, some in result.by_group().items()},
        "by_tenant": {name: of(some) for name, some in result.by_tenant().items()},
        "windows": [
            {"first": window.start, "end": window.stop, **of(window)} for window in result.windows()
        ],
    }
