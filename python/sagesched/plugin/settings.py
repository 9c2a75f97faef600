"""What an operator can set, read from the environment once, at the edge.

Every setting has a default that is safe to serve with; ``sagesched doctor`` lists them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sagesched.cost import CostModel
from sagesched.gittins import simd_levels
from sagesched.plugin.about import LABEL, TENANT_SOURCES
from sagesched.predict.registry import known_embedder

POLICY = "gittins"
LARRY = "larry"
POLICIES = (POLICY, LARRY)
"""Ours, as values of ``--schedule-policy``."""
STOCK = "fcfs"
PURE_FROM = 1e9
"""A dial of as much or more is ``inf``; JSON has none."""
SHADOW = "SAGESCHED_SHADOW"
AUTO, STOCK_RESERVE, FORECAST = ADMISSIONS = "auto", "stock", "forecast"


@dataclass(frozen=True)
class Settings:
    """The plug-in's configuration.

    Attributes:
        dial: how far the index may move a request from its arrival place; 0 is first come
            first served, ``inf`` is the pure Gittins order. See ``order.py``.
        cost: weights of the cost of a request; None takes ``CostModel.of_engine``.
        parked_s: how long a request that has begun may be parked for others, seconds; 0 parks
            nobody.
        admission: what is kept free for the running batch, see ``memory.py``.
        embedder: name for ``sagesched.predict.make_embedder``.
        deadline_s: how long a request may wait for its prediction, seconds; one that follows its
            request may take ten times as long.
        history_records: finished requests that predictions are made from.
        history_file: where the history is kept; None for memory only.
        store_prompts: whether the prompts' text is kept there, too.
        tenant: where a request's tenant is taken from, one of ``about.TENANT_SOURCES``.
        simd: instruction set of the index kernel, "" for the best one of the machine. The kernel
            reads the variable itself; here it is checked before the server starts.
        shadow: predict, rank and report under ``--schedule-policy fcfs``, but change nothing.
        debug_order: log checksums of the order, see ``checksum.py``.
        allow_untested_sglang: serve on an SGLang release that is not in ``SUPPORTED``.
    """

    dial: float = 1.0
    parked_s: float = 3.0
    cost: CostModel | None = None
    admission: str = AUTO
    embedder: str = "auto"
    deadline_s: float = 0.5
    history_records: int = 10_000
    history_file: Path | None = None
    store_prompts: bool = False
    tenant: str = ""
    simd: str = ""
    shadow: bool = False
    debug_order: bool = False
    allow_untested_sglang: bool = False


VARIABLES: Mapping[str, str] = {
    "SAGESCHED_DIAL": "0 = first come first served ... inf = pure Gittins order (default 1)",
    "SAGESCHED_PARKED_S": "how long a request that has begun may be parked for others, or wait "
    "after a retraction, seconds; somewhat earlier it goes before all that wait. 0 parks nobody, "
    "inf is no bound (default 3)",
    "SAGESCHED_COST": "TOKEN,MEMORY,PREFILL: cost of an output token to come, of a KV token held "
    "for a step, of an uncached prompt token (default: from the engine's pool and slots; sagesched "
    "calibrate prints it for measured steps)",
    "SAGESCHED_ADMISSION": "KV memory kept free for what running requests still produce: forecast "
    "from their predicted lengths, stock, SGLang's own rule, or auto, forecast where it can be in "
    "force (default auto)",
    "SAGESCHED_EMBEDDER": "what compares prompts: auto, wordllama, hashed, model (the served "
    "model's input embeddings), model:FOLDER or sentence-transformers:MODEL (default auto)",
    "SAGESCHED_DEADLINE_MS": "longest wait for a prediction, milliseconds; ten times as long where "
    "it follows its request (default 500)",
    "SAGESCHED_HISTORY": "finished requests kept to predict from (default 10000)",
    "SAGESCHED_HISTORY_FILE": "SQLite file in which the history outlives a restart; servers "
    "may share it (default: none, in memory only)",
    "SAGESCHED_STORE_PROMPTS": "1 keeps the prompts' text in that file, too (default 0)",
    "SAGESCHED_TENANT": "where a request's tenant is taken from, so that none can spoil the "
    "predictions of others: extra_key, cache_salt, routing_key, or label:NAME for one of SGLang's "
    "custom labels (default: all are one tenant)",
    "SAGESCHED_SIMD": "instruction set of the index kernel: scalar, avx2, avx512 or neon (default "
    "the best one of the machine; all give the same bits)",
    SHADOW: "1 with --schedule-policy fcfs: predicts, ranks and reports what gittins would have "
    "changed, but changes nothing (default 0)",
    "SAGESCHED_DEBUG_ORDER": "1 logs checksums of the order, to compare ranks by (default 0)",
    "SAGESCHED_ALLOW_UNTESTED_SGLANG": "1 serves on an SGLang release not tested (default 0)",
}

ELSEWHERE = (
    "SAGESCHED_VENV",
    "SAGESCHED_SGLANG",
    "SAGESCHED_PREDICTOR_TOKEN",
    "SAGESCHED_UPSTREAM_API_KEY",
    "SAGESCHED_HTTP_APP",
)
"""Read by the scripts of a checkout, the predictor service, the router, HTTP workers; not here."""


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Build the settings from environment variables.

    Raises:
        ValueError: a variable is malformed or out of range, or an unknown variable starts
            with ``SAGESCHED_``; the message names it and what is allowed.
    """
    env = os.environ if environ is None else environ
    unknown = [n for n in env if n.startswith("SAGESCHED_") and n not in {*VARIABLES, *ELSEWHERE}]
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: unknown; known are {', '.join(VARIABLES)}")
    base = Settings()
    return Settings(
        dial=as_dial(_number(env, "SAGESCHED_DIAL", base.dial)),
        parked_s=_number(env, "SAGESCHED_PARKED_S", base.parked_s),
        cost=_cost(env, "SAGESCHED_COST"),
        admission=_choice(env, "SAGESCHED_ADMISSION", ADMISSIONS, base.admission),
        embedder=_embedder(env, "SAGESCHED_EMBEDDER", base.embedder),
        deadline_s=_milliseconds(env, "SAGESCHED_DEADLINE_MS", base.deadline_s),
        history_records=_count(env, "SAGESCHED_HISTORY", base.history_records),
        history_file=_file(env, "SAGESCHED_HISTORY_FILE"),
        store_prompts=_flag(env, "SAGESCHED_STORE_PROMPTS"),
        tenant=_tenant(env, "SAGESCHED_TENANT"),
        simd=_choice(env, "SAGESCHED_SIMD", ("", *simd_levels()), base.simd),
        shadow=_flag(env, SHADOW),
        debug_order=_flag(env, "SAGESCHED_DEBUG_ORDER"),
        allow_untested_sglang=_flag(env, "SAGESCHED_ALLOW_UNTESTED_SGLANG"),
    )


def is_ours(policy: str, environ: Mapping[str, str] | None = None) -> bool:
    """Whether a server of this ``--schedule-policy`` is to run our hooks: ours, or a shadow.

    Raises:
        ValueError: ``SAGESCHED_SHADOW`` does not go with the policy, or is malformed.
    """
    shadow = _flag(os.environ if environ is None else environ, SHADOW)
    if shadow and policy in POLICIES:
        raise ValueError(
            f"{SHADOW}=1 changes nothing and --schedule-policy {policy} changes the order. Serve "
            f"with --schedule-policy {STOCK} to look on first, or without {SHADOW}"
        )
    if shadow and policy != STOCK:
        raise ValueError(
            f"{SHADOW}=1 compares {POLICY} with {STOCK}, not with {policy}. Serve with "
            f"--schedule-policy {STOCK}, or without {SHADOW}"
        )
    return shadow or policy in POLICIES


def predicts(policy: str) -> bool:
    """Whether a server of this policy, one of ours or a shadow, predicts output lengths."""
    return policy != LARRY


def as_dial(value: float) -> float:
    """A dial so far up that nothing but the index counts is ``inf``."""
    return math.inf if value >= PURE_FROM else value


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise ValueError(f"{name}={text!r}: expected a number of at least 0 ({VARIABLES[name]})")
    return value


def _milliseconds(env: Mapping[str, str], name: str, default_s: float) -> float:
    seconds = _number(env, name, default_s * 1000) / 1000
    if not 0 < seconds <= 60:
        raise ValueError(f"{name}={env[name]!r}: expected more than 0 and at most 60000")
    return seconds


def _choice(env: Mapping[str, str], name: str, choices: Sequence[str], default: str) -> str:
    text = env.get(name, "").strip() or default
    if text not in choices:
        names = ", ".join(filter(None, choices))
        raise ValueError(f"{name}={text!r}: expected one of {names}")
    return text


def _tenant(env: Mapping[str, str], name: str) -> str:
    text = env.get(name, "").strip()
    if text.startswith(LABEL) and len(text) > len(LABEL):
        return text
    return _choice(env, name, TENANT_SOURCES[:-1], "")


def _embedder(env: Mapping[str, str], name: str, default: str) -> str:
    try:
        return known_embedder(env.get(name, "").strip() or default)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _cost(env: Mapping[str, str], name: str) -> CostModel | None:
    text = env.get(name, "").strip()
    if not text:
        return None
    try:
        parts = [float(part) for part in text.split(",")]
        if len(parts) != 3:
            raise ValueError(f"{len(parts)} numbers")
        return CostModel(*parts)
    except ValueError as error:
        raise ValueError(f"{name}={text!r}: {error}; expected {VARIABLES[name]}") from None


def _count(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1_000_000:
        raise ValueError(f"{name}={text!r}: expected a whole number from 1 to 1000000")
    return int(text)


def _file(env: Mapping[str, str], name: str) -> Path | None:
    text = env.get(name, "").strip()
    if not text:
        return None
    try:
        path = Path(text).expanduser().absolute()
    except RuntimeError:  # no such user
        raise ValueError(f"{name}={text!r}: whose home directory is that?") from None
    if text.endswith("/") or path.is_dir():
        raise ValueError(f"{name}={text!r}: expected a file, this is a folder")
    return path


def _flag(env: Mapping[str, str], name: str) -> bool:
    text = env.get(name, "").strip()
    if text not in ("", "0", "1"):
        raise ValueError(f"{name}={text!r}: expected 0 or 1")
    return text == "1"
