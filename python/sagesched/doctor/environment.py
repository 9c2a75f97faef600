"""What is set, and what predictions are made with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from sagesched.doctor.finding import Finding

if TYPE_CHECKING:
    from sagesched.plugin.settings import Settings


def variables() -> Iterator[Finding]:
    from sagesched.plugin.settings import VARIABLES

    settings, bad = read_environment()
    cost = settings.cost or "from the engine's pool and slots"
    deadline = f"{settings.deadline_s * 1000:g} ms"
    shadow = "; a shadow, for --schedule-policy fcfs only" if settings.shadow else ""
    wrong = "; what is malformed is taken as not set" if bad else ""
    what = f"dial {settings.dial:g}; cost {cost}; deadline {deadline}{shadow}{wrong}"
    yield Finding("settings", what)
    for name, described in VARIABLES.items():
        meaning, default = _without_default(described)
        value = os.environ.get(name, "").strip()
        shown = f"{name}={value if value.isprintable() else repr(value)}" if value else name
        subject = f"  {shown} ({default})"
        if name in bad:
            wrong = bad[name].removeprefix(f"{name}={value!r}").removeprefix(name).lstrip(": ")
            yield Finding(subject, wrong, "set it right, or unset it", fatal=True)
        else:
            yield Finding(subject, meaning)
    for name in sorted(bad.keys() - VARIABLES.keys()):
        yield Finding(f"  {name}", "unknown", "known are those above: is it misspelt?", fatal=True)


def read_environment() -> tuple[Settings, Mapping[str, str]]:
    """The settings, and of each variable that is malformed or unknown what is wrong with it.

    One of them counts as not set, so that the other checks have something to look at.
    """
    from sagesched.plugin.settings import read_settings

    good: dict[str, str] = {}
    bad: dict[str, str] = {}
    for name in sorted(os.environ):
        if name.startswith("SAGESCHED_"):
            one = {name: os.environ[name]}
            try:
                read_settings(one)
                good |= one
            except ValueError as error:
                bad[name] = str(error)
    return read_settings(good), bad


def _without_default(described: str) -> tuple[str, str]:
    """A variable's meaning, and the remark on its default that ends it."""
    meaning, found, default = described.rpartition(" (default")
    if not found or not default.endswith(")"):
        return described, "not set by default"
    return meaning, f"default{default[:-1]}"


def embedding() -> Iterator[Finding]:
    from sagesched.predict import make_embedder
    from sagesched.predict.registry import SERVED_MODEL

    wanted = read_environment()[0].embedder
    if wanted == SERVED_MODEL:
        yield Finding("embedder", "the served model's input embeddings, read when it is served")
        return
    embedder = make_embedder(wanted)
    fell_back = wanted == "auto" and embedder.name != "wordllama"
    yield Finding(
        "embedder",
        f"{embedder.name}, {embedder.dim} dimensions",
        "predictions are better with WordLlama: pip install 'sagesched[predict]'"
        if fell_back
        else "",
    )


def neighbour_index() -> Iterator[Finding]:
    from sagesched.predict.history import EXACT_UP_TO

    if read_environment()[0].history_records <= EXACT_UP_TO:
        yield Finding("neighbour index", "exact")
        return
    found = find_spec("faiss") is not None
    yield Finding(
        "neighbour index",
        "by sketches, with FAISS" if found else "exact",
        "" if found else "with FAISS it is faster: pip install 'sagesched[predict]'",
    )


def history() -> Iterator[Finding]:
    settings, _ = read_environment()
    records, file = settings.history_records, settings.history_file
    if file is None:
        yield Finding("history", f"in the server's memory, up to {records} requests; starts empty")
        return
    text = "with" if settings.store_prompts else "without"
    state = f"{file}, {text} prompts; up to {records} requests of it are learned at the start"
    ready = file.parent.is_dir() and os.access(file.parent, os.W_OK)
    what = f"make the folder {file.parent}, writable for who runs the server"
    yield Finding("history", state, "" if ready else what)
