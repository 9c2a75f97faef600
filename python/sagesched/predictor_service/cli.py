"""`sagesched predictor serve`. Imports what it serves with only when it is run."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path

from sagesched.plugin.settings import Settings, read_settings
from sagesched.predict.registry import (
    SERVED_MODEL,
    embedder_names,
    known_embedder,
    make_embedder,
)
from sagesched.predictor_service.auth import TOKEN_VARIABLE, require_token

PORT = 8571
CONTEXT_LENGTH = 131_072
MOST_RECORDS = 1_000_000
MOST_CONTEXT = 2**31 - 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags; where one is left out, the variable that the plug-in reads holds."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=int, default=PORT, help="0 takes a free one and prints it (%(default)s)"
    )
    parser.add_argument(
        "--token",
        help=f"requests must bring it; needed beyond this machine. Better set {TOKEN_VARIABLE}: "
        "others can see a command line",
    )
    parser.add_argument(
        "--history",
        type=int,
        metavar="N",
        help="finished requests to predict from (SAGESCHED_HISTORY, 10000)",
    )
    parser.add_argument(
        "--history-file",
        type=Path,
        metavar="FILE",
        help="keeps the history beyond a restart, and shares it with other processes "
        "(SAGESCHED_HISTORY_FILE; none)",
    )
    parser.add_argument(
        "--embedder",
        metavar="NAME",
        help=f"what compares prompts: {', '.join(embedder_names())} (SAGESCHED_EMBEDDER)",
    )
    parser.add_argument(
        "--context-length",
        type=int,
        default=CONTEXT_LENGTH,
        metavar="N",
        help="most tokens of prompt and output of any model served (%(default)s)",
    )
    parser.add_argument(
        "--deadline-ms",
        type=float,
        metavar="MS",
        help="longest wait for a prediction (SAGESCHED_DEADLINE_MS, 500)",
    )


def run(options: argparse.Namespace) -> int:
    """Serve until a signal; the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    token = os.environ.get(TOKEN_VARIABLE) if options.token is None else options.token
    try:
        settings = with_flags(read_settings(), options)
        require_token(options.host, token)
        _serve(options, settings, token)
    except ModuleNotFoundError as error:
        return _refuse(f"{error.name} is missing: pip install 'sagesched[serve]'")
    except (ValueError, OSError) as error:
        return _refuse(str(error))
    return 0


def with_flags(settings: Settings, options: argparse.Namespace) -> Settings:
    """The settings of the environment, with flags in their place.

    Raises:
        ValueError: a flag is out of range.
    """
    _require("--port", options.port, 0, 65535)
    _require("--context-length", options.context_length, 1, MOST_CONTEXT)
    if options.embedder is not None:
        settings = replace(settings, embedder=known_embedder(options.embedder))
    if settings.embedder == SERVED_MODEL:
        raise ValueError(f"embedder {SERVED_MODEL}: none is served here; name one: model:FOLDER")
    if options.history is not None:
        _require("--history", options.history, 1, MOST_RECORDS)
        settings = replace(settings, history_records=options.history)
    if options.history_file is not None:
        if options.history_file.is_dir():
            raise ValueError(
                f"--history-file {options.history_file}: expected a file, not a folder"
            )
        settings = replace(settings, history_file=options.history_file)
    if options.deadline_ms is not None:
        _require("--deadline-ms", options.deadline_ms, 0.001, 60_000)
        settings = replace(settings, deadline_s=options.deadline_ms / 1000)
    return settings


def _require(flag: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:  # false for NaN
        raise ValueError(f"{flag} {value}: expected {least:g} to {most}")


def _serve(options: argparse.Namespace, settings: Settings, token: str | None) -> None:
    from prometheus_client import disable_created_metrics
    from threadpoolctl import threadpool_limits

    from sagesched.asgi_server import listen, serve, url_of
    from sagesched.cost import CostModel
    from sagesched.lengths import LengthGrid
    from sagesched.predict.store.options import HistoryOptions
    from sagesched.predictor_service.app import create_app
    from sagesched.predictor_service.engine import Engine, EngineConfig

    file, capacity = settings.history_file, settings.history_records
    config = EngineConfig(
        LengthGrid(options.context_length),
        settings.cost or CostModel(),
        capacity,
        settings.deadline_s,
        None if file is None else HistoryOptions(file, capacity, settings.store_prompts),
    )
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a time stamp for each counter
    # The trend's matrices are small: threads that share two busy cores made a fit 30 times slower.
    threadpool_limits(1, user_api="blas")
    listening = listen(options.host, options.port)
    engine = Engine(config, lambda: make_embedder(settings.embedder))
    print(f"sagesched predictor: listening on {url_of(listening)}", flush=True)
    serve(create_app(engine, token), listening)
    with contextlib.suppress(OSError):  # nobody may be listening any more
        print("sagesched predictor: stopped", flush=True)


def _refuse(reason: str) -> int:
    print(f"sagesched predictor serve: {reason}", file=sys.stderr)
    return 1
