"""What a server still holds when everybody has been served."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

CHECKSUM = re.compile(r"(TP\d)[^\n]*sagesched: order checksum (\w+) after (\d+) passes")
RETRACTED = "KV cache pool is full. Retract requests"
LEAK = "memory leak detected"
PATIENCE_S = 120.0
EXPORTED_S = 1.5
"""Our metrics are exported twice a second."""


@dataclass(frozen=True)
class Leftovers:
    """As the server says it, at rest.

    Attributes:
        idle: it came to rest.
        loads: SGLang's ``/v1/loads``, summed over replicas, before the radix cache was flushed.
        flushed: it could be flushed, and what was in use afterwards, tokens.
        tables: entries by table, the tokenizer process's and the order's.
        fallbacks: by cause, those that are not 0.
        parked: times that running requests gave way, of all ranks.
    """

    idle: bool
    loads: Mapping[str, float]
    flushed: tuple[bool, float]
    tables: Mapping[str, float]
    fallbacks: Mapping[str, float]
    parked: float = 0.0


async def leftovers(client: aiohttp.ClientSession, url: str) -> Leftovers:
    """Wait until the server is at rest, and look."""
    idle = await _at_rest(client, url)
    loads = await _loads(client, url)
    async with client.post(url + "/flush_cache") as response:
        flushed = response.status == 200
    await asyncio.sleep(EXPORTED_S)
    in_use = (await _loads(client, url))["num_used_tokens"]
    metrics = await _metrics(client, url)
    tables: dict[str, float] = dict(await _json(client, url + "/soak/tables"))
    tables["places in the rank engine"] = metrics["sagesched_rank_engine_slots"]
    for state in (await _json(client, url + "/server_info"))["internal_states"]:
        tables["waiting in the order"] = (
            tables.get("waiting in the order", 0) + state["sagesched"]["waiting"]
        )
    fallbacks = {name: n for name, n in metrics.items() if "fallbacks" in name and n}
    parked = metrics["sagesched_parked_requests_total"]
    return Leftovers(idle, loads, (flushed, in_use), tables, fallbacks, parked)


def checksums(log: str) -> dict[int, dict[str, str]]:
    """By number of passes: what each rank logged."""
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for rank, value, passes in CHECKSUM.findall(log):
        found[int(passes)][rank] = value
    return dict(found)


async def _at_rest(client: aiohttp.ClientSession, url: str) -> bool:
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        loads = await _loads(client, url)
        tables = await _json(client, url + "/soak/tables")
        busy = loads["num_running_reqs"] + loads["num_waiting_reqs"] + sum(tables.values())
        if not busy:
            return True
        await asyncio.sleep(0.5)
    return False


async def _loads(client: aiohttp.ClientSession, url: str) -> dict[str, float]:
    names = ("num_running_reqs", "num_waiting_reqs", "num_used_tokens")
    loads = (await _json(client, url + "/v1/loads?include=all"))["loads"]
    return {name: sum(each[name] for each in loads) for name in names}


async def _metrics(client: aiohttp.ClientSession, url: str) -> dict[str, float]:
    async with client.get(url + "/metrics") as response:
        text = await response.text()
    found: dict[str, float] = defaultdict(float)
    for name, labels, value in re.findall(r"^(sagesched_\w+)(\{[^}]*\})? (\S+)$", text, re.M):
        found[name + re.sub(r',?pid="\d+"', "", labels)] += float(value)
    return found


async def _json(client: aiohttp.ClientSession, url: str) -> Any:
    async with client.get(url) as response:
        text = await response.text()
        if response.status != 200:
            raise RuntimeError(f"{url}: {response.status}, {text[:200]}")
        return json.loads(text)
