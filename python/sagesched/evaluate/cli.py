"""``sagesched evaluate``: its flags, and what it does with them."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sagesched.evaluate.result import Result
    from sagesched.evaluate.run import Settings

DESCRIPTION = """\
How well output lengths of recorded requests could have been predicted: each request is predicted
when it arrives and learned after it has ended, by SageSched's predictor and by simpler ones.
"""

FAILED, BAD_USAGE, INTERRUPTED = 1, 2, 130
METHOD_NAMES = ("sagesched", "published", "global", "topk", "gbm")
LONGEST_CONTEXT = 10_000_000
MOST = 2**31


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``sagesched evaluate``."""
    parser.description = DESCRIPTION
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--data",
        metavar="FILE",
        type=Path,
        help="prompts and lengths: JSON lines (gzipped or not), SGLang's request log, ShareGPT's "
        "JSON; docs/evaluate.md",
    )
    source.add_argument("--history", metavar="FILE", type=Path, help="a history that a server kept")
    add = parser.add_argument
    add("--limit", metavar="N", type=_whole(1), help="the first so many requests only")
    add("--warmup", metavar="N", type=_whole(0), default=0,
        help="learn from the first so many requests, but do not score them (0)")  # fmt: skip
    add("--methods", metavar="NAMES", type=_methods, default=METHOD_NAMES,
        help=f"of {', '.join(METHOD_NAMES)} (all)")  # fmt: skip
    add("--lag", metavar="N", type=_whole(0),
        help="learn each request N requests after the next one (by the file's arrivals and ends; "
        "where it has none, before the next one)")  # fmt: skip
    add("--embedder", metavar="NAME", default="auto",
        help="auto, wordllama, hashed, model:MODEL or sentence-transformers:MODEL (auto); of a "
        "history, whose records")  # fmt: skip
    add("--context-length", metavar="TOKENS", type=_whole(1, LONGEST_CONTEXT), default=32_768,
        help="longest output that can be predicted (32768)")  # fmt: skip
    add("--skip-bad", action="store_true", help="leave bad lines out, with a count")
    add("--json", metavar="FILE", type=Path, help="write all figures")
    add("--markdown", metavar="FILE", type=Path, help="write the tables")
    add("--plot", metavar="FILE", type=Path, help="write plots, as PNG, SVG or PDF (needs "
        "Matplotlib)")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Evaluate and show; returns the exit status.

    0: done; 1: a file could not be written; 2: the arguments or the data are wrong; 130:
    interrupted.
    """
    from sagesched.evaluate.progress import Progress
    from sagesched.evaluate.report import markdown
    from sagesched.evaluate.run import evaluate

    progress = Progress()
    try:
        _check_outputs(options)  # now, and not after minutes
        result = evaluate(_settings(options), progress.show)
    except KeyboardInterrupt:
        progress.close()
        print("sagesched evaluate: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, ImportError, OSError) as error:
        progress.close()
        print(f"sagesched evaluate: error: {error}", file=sys.stderr)
        return BAD_USAGE
    progress.close()
    status = _write(options, result)
    with contextlib.suppress(BrokenPipeError):  # a reader that has seen enough
        print(_encodable(markdown(result)), end="", flush=True)
    return status


def _encodable(text: str) -> str:
    """With question marks for what the output's encoding does not have."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def _check_outputs(options: argparse.Namespace) -> None:
    if options.plot and find_spec("matplotlib") is None:
        raise ValueError("--plot needs Matplotlib: pip install matplotlib")
    if options.plot and options.plot.suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(f"--plot: {options.plot} must end in .png, .svg or .pdf")
    taken = {(options.data or options.history).resolve(): "read"}
    for file in filter(None, (options.json, options.markdown, options.plot)):
        place = file.resolve()
        if place in taken or _same(place, options.data or options.history):
            raise ValueError(f"{file} is {taken.get(place, 'read')} already; name another file")
        taken[place] = "written"
        _require_writable(place)


def _same(one: Path, other: Path) -> bool:
    """By hard links, or names that the file system takes for one."""
    return one.exists() and other.exists() and one.samefile(other)


def _require_writable(file: Path) -> None:
    """Leaves nothing behind.

    Raises:
        OSError: it cannot be written.
    """
    existed = file.exists()
    file.open("a").close()
    if not existed:
        file.unlink()


def _settings(options: argparse.Namespace) -> Settings:
    from sagesched.evaluate.run import Settings

    return Settings(
        data=options.data,
        history=options.history,
        limit=options.limit,
        warmup=options.warmup,
        methods=options.methods,
        lag=options.lag,
        embedder=options.embedder,
        context_length=options.context_length,
        skip_bad=options.skip_bad,
    )


def _write(options: argparse.Namespace, result: Result) -> int:
    """A full disk or a bug costs one file only."""
    from sagesched.evaluate.plot import plot
    from sagesched.evaluate.report import markdown
    from sagesched.evaluate.result import as_json

    writers: list[tuple[Path | None, Callable[[Path], object]]] = [
        (options.json, lambda file: _write_text(file, json.dumps(as_json(result), indent=1))),
        (options.markdown, lambda file: _write_text(file, markdown(result))),
        (options.plot, lambda file: plot(result, file)),
    ]
    status = 0
    for file, write in writers:
        try:
            if file:
                write(file)
        except OSError as error:
            print(f"sagesched evaluate: cannot write {file}: {error.strerror}", file=sys.stderr)
            status = FAILED
    return status


def _write_text(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


def _methods(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in METHOD_NAMES]:
        known = ", ".join(METHOD_NAMES)
        raise argparse.ArgumentTypeError(f"unknown method {unknown[0]!r}; choose of: {known}")
    return names


def _whole(least: int, most: int = MOST) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            bounds = f"{least} to {most}" if most < MOST else f"{least} up"
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {bounds}")
        return int(text)

    return number
