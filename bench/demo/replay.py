"""What makes the server replay a true output length, for the model that is served."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cpu_engine.eos_at import EosAt, eos_at_params

FORBIDDEN_BIAS = -1e9


@dataclass(frozen=True)
class Replay:
    """Fields of a request that make it end at a chosen token; only ``params`` varies.

    Attributes:
        processor: the logit processor, as SGLang takes it over HTTP.
        eos: the token that ends a request.
        sampling: sampling parameters that forbid every other token that would end it.
    """

    processor: str
    eos: int
    sampling: Mapping[str, Any] = field(default_factory=dict)

    def params(self, tokens: int) -> dict[str, int]:
        """The ``custom_params`` of a request that ends at token number ``tokens``."""
        return eos_at_params(tokens, self.eos)


def make_replay(model: Path) -> Replay:
    """Read from a model's directory which tokens end an answer.

    Raises:
        ValueError: the directory does not say.
    """
    ids = _eos_ids(model)
    if not ids:
        raise ValueError(
            f"{model}: neither generation_config.json nor config.json has an eos_token_id, so "
            "true lengths cannot be replayed; name the directory of a complete model"
        )
    others = {str(token): FORBIDDEN_BIAS for token in ids[1:]}
    return Replay(EosAt.to_str(), ids[0], {"logit_bias": others} if others else {})


def _eos_ids(model: Path) -> list[int]:
    """All end tokens named in the model's configuration, without repetition, in order."""
    ids: list[int] = []
    for name in ("generation_config.json", "config.json"):
        file = model / name
        config = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        value = config.get("eos_token_id", config.get("text_config", {}).get("eos_token_id"))
        ids += value if isinstance(value, list) else [value] if isinstance(value, int) else []
    return list(dict.fromkeys(ids))
