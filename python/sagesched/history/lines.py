"""A record as a line of JSON, and back."""

from __future__ import annotations

import base64
import binascii
import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from sagesched.predict.base import Vectors
from sagesched.predict.features import Options, options_of
from sagesched.predict.store.record import Record, Space
from sagesched.replay.readers import fields

EXAMPLE = '{"prompt": "Why is the sky blue?", "output_tokens": 180}'
MOST_NUMBERS = 65_536
MOST_TOKENS = 2**31 - 1
"""Of an output; what the predictor service takes, export writes."""
LATEST_S = 253_402_300_799
"""The end of the year 9999, in seconds since 1970."""


@dataclass(frozen=True)
class Parsed:
    """What a line says: a prompt to embed, or a vector and its space."""

    output_tokens: int
    finished: bool
    group: str
    tenant: str
    time: float
    prompt: str | None
    options: Options
    vector: Vectors | None
    space: Space | None

    def record(self, vector: Vectors, store_prompt: bool) -> Record:
        """To be stored."""
        text = self.prompt if store_prompt else None
        return Record(
            vector, self.output_tokens, self.finished, self.group, self.tenant, text, self.time
        )


def line_of(record: Record, space: Space, vectors: bool) -> str:
    """One line, without its end."""
    values: dict[str, Any] = {
        "time": record.time,
        "embedder": space.embedder,
        "dim": space.dim,
        "features": space.features,
        "group": record.group,
        "tenant": record.tenant,
        "output_tokens": record.output_tokens,
        "finished": record.finished,
    }
    if record.text is not None:
        values["prompt"] = record.text
    if vectors:
        packed = record.vector.astype("<f4").tobytes()
        values["vector"] = base64.b64encode(packed).decode("ascii")
    return json.dumps(values)


def parse(line: str) -> Parsed:
    """What a line says.

    Raises:
        ValueError: it cannot be used; the message says why.
    """
    values = fields.json_object(line)
    tokens = fields.whole(values, "output_tokens", least=0, most=MOST_TOKENS)
    finished = values.get("finished", True)
    if not isinstance(finished, bool):
        raise ValueError(f'"finished" must be true or false, got {fields.kind(finished)}')
    if not tokens and not finished:
        raise ValueError("an output that was cut off before its first token tells nothing")
    prompt = fields.text(values, "prompt") if values.get("prompt") is not None else None
    vector, space = _vector(values) if values.get("vector") is not None else (None, None)
    if prompt is None and vector is None:
        raise ValueError(f'neither "prompt" nor "vector"; a good line: {EXAMPLE}')
    return Parsed(
        tokens,
        finished,
        fields.text(values, "group", ""),
        fields.text(values, "tenant", ""),
        _time(values),
        prompt,
        options_of(values),
        vector,
        space,
    )


def _time(values: fields.Object) -> float:
    seconds = fields.number(values, "time", least=0.0) if "time" in values else time.time()
    if seconds > LATEST_S:
        raise ValueError(f'"time" must be in seconds since 1970, got {seconds:g}')
    return seconds


def _vector(values: fields.Object) -> tuple[Vectors, Space]:
    dim = fields.whole(values, "dim", most=MOST_NUMBERS)
    space = Space(fields.text(values, "embedder"), dim, fields.whole(values, "features"))
    try:
        packed = base64.b64decode(fields.text(values, "vector"), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError('"vector" must be base64 of float32 numbers') from None
    if len(packed) != 4 * dim:
        raise ValueError(f'"vector" has {len(packed)} bytes, "dim" says {4 * dim}')
    vector = np.frombuffer(packed, dtype="<f4").astype(np.float32)
    if not np.isfinite(vector).all():
        raise ValueError('"vector" holds numbers that are not finite')
    return vector, space
