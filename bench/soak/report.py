"""A soak in Markdown and JSON."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from bench.soak.checks import Check, Soak
from bench.soak.run import Options

SPACE = re.compile(r"\s+")


def as_markdown(heading: str, options: Options, soak: Soak, found: Sequence[Check]) -> str:
    """What was done, and every check."""
    lines = [
        "# Soak",
        "",
        heading,
        "",
        _load(options, soak),
        "",
        "| what must hold | | found |",
        "|---|---|---|",
        *(f"| {check.what} | {'yes' if check.holds else '**no**'} | {_cell(check.found)} |"
          for check in found),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def as_json(heading: str, options: Options, soak: Soak, found: Sequence[Check]) -> str:
    """The same for programs."""
    kept = {
        "heading": heading,
        "options": asdict(options),
        "wall_s": round(soak.wall_s, 1),
        "kinds": Counter(ask.kind for ask in soak.asks),
        "output_tokens": sum(max(0, ask.produced) for ask in soak.asks),
        "retractions": soak.retractions,
        "left": asdict(soak.left),
        "memory_bytes": soak.growth,
        "stock_memory_bytes": soak.stock_growth,
        "checks": [asdict(check) for check in found],
    }
    return json.dumps(kept, indent=1) + "\n"


def _load(options: Options, soak: Soak) -> str:
    kinds = Counter(ask.kind for ask in soak.asks)
    return (
        f"{len(soak.asks):,} requests in {soak.wall_s / 60:.1f} minutes "
        f"({', '.join(f'{kind} {n:,}' for kind, n in sorted(kinds.items()))}), "
        f"{options.at_once} under way at any time, {options.slots} running in "
        f"{options.pool_tokens:,} tokens of KV memory, {options.ranks} tensor-parallel ranks, "
        f"a history of {options.history:,}{', mixed prefill' if options.mixed else ''}. oneDNN "
        "and torch keep next to nothing of each shape of a batch, so that what grows is ours or "
        "SGLang's."
    )


def _cell(text: str) -> str:
    return SPACE.sub(" ", text).replace("|", "/")
