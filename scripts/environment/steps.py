"""Steps that are done once: each is skipped while what it was made from has not changed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """One step of the set-up.

    Attributes:
        title: what it does, and about how long that takes.
        inputs: texts and files that decide about its result.
        run: does it.
    """

    title: str
    inputs: Sequence[str | Path]
    run: Callable[[], None]


class Stamp:
    """Remembers in a file which steps are done, as one hash each."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def done(self) -> list[str]:
        """Hashes of the finished steps; empty when there is no readable stamp."""
        try:
            keys = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return []
        return keys if isinstance(keys, list) else []

    def write(self, keys: Sequence[str]) -> None:
        self.path.write_text(json.dumps(list(keys)))


def keys_of(steps: Iterable[Step]) -> list[str]:
    """A hash per step, over its inputs and those of all steps before it."""
    chain, keys = hashlib.sha256(), []
    for step in steps:
        for item in step.inputs:
            data = item.read_bytes() if isinstance(item, Path) else item.encode()
            chain.update(hashlib.sha256(data).digest())
        chain.update(b"|")
        keys.append(chain.hexdigest())
    return keys


def up_to_date(keys: Sequence[str], done: Sequence[str]) -> int:
    """How many steps, from the first on, are done as they would be done now."""
    current = 0
    while current < min(len(keys), len(done)) and keys[current] == done[current]:
        current += 1
    return current


def run_steps(steps: Sequence[Step], stamp: Stamp) -> int:
    """Run every step from the first that is not up to date on; returns how many were run."""
    keys = keys_of(steps)
    current = up_to_date(keys, stamp.done())
    for number in range(current, len(steps)):
        print(f"[{number + 1}/{len(steps)}] {steps[number].title}", flush=True)
        started = time.monotonic()
        steps[number].run()
        stamp.write(keys[: number + 1])
        print(f"      done in {time.monotonic() - started:.0f} s", flush=True)
    return len(steps) - current
