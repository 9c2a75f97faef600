"""`sagesched route`. Imports what it serves with only when it is run."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys

PORT = 8572
API_KEY_VARIABLE = "SAGESCHED_UPSTREAM_API_KEY"
PREDICTOR_TOKEN_VARIABLE = "SAGESCHED_PREDICTOR_TOKEN"

DESCRIPTION = f"""\
One address for several SGLang servers of the same model. Each request goes to the server that is
estimated to start it soonest, by the loads that the servers report (/v1/loads) and by what was sent
since. docs/balance_deploy.md shows it at work.

Keys and tokens of clients pass through. Where the servers ask for a key, set {API_KEY_VARIABLE},
so that their loads can be read; for a predictor with a token, set {PREDICTOR_TOKEN_VARIABLE}.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags."""
    # fmt: off
    add = parser.add_argument
    add("--replica", action="append", required=True, metavar="URL",
        help="an SGLang server, http://HOST:PORT; once for each")
    add("--gateway", metavar="URL",
        help="SGLang's own gateway in front of these servers (smg launch --policy "
        "consistent_hashing): requests go to it, with a header that names the server")
    add("--balance", default="sal", metavar="NAME",
        help="sal, sal-prompt (never looks at predictions), or a baseline: round_robin, random, "
        "power_of_two, total_requests, total_tokens, cache_aware, shortest_predicted "
        "(%(default)s)")
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, default=PORT,
        help="0 takes a free one and prints it (%(default)s)")
    add("--predictor", metavar="URL",
        help="sagesched predictor serve: asked how long answers will be, told how long they were")
    add("--predictor-deadline-ms", type=float, default=50.0, metavar="MS",
        help="longest wait for it; then the request goes on without (%(default)s)")
    add("--no-learn", action="store_true",
        help="only ask the predictor, as where the servers share its history file")
    add("--max-inflight", type=int, default=2048, metavar="N",
        help="requests at the servers; further ones wait here (%(default)s)")
    add("--max-queue", type=int, default=2048, metavar="N",
        help="requests that wait here; further ones are answered 503 (%(default)s)")
    add("--queue-timeout-s", type=float, default=30.0, metavar="S",
        help="longest wait here; then the answer is 503 (%(default)s)")
    add("--poll-ms", type=float, default=200.0, metavar="MS",
        help="between two looks at a server's load (%(default)s)")
    add("--stall-s", type=float, default=30.0, metavar="S",
        help="a server with requests whose load stands still so long gets no more (%(default)s)")
    add("--drain-s", type=int, default=120, metavar="S",
        help="after SIGTERM requests in progress may take so long (%(default)s)")
    add("--bytes-per-token", type=float, default=4.0, metavar="N",
        help="estimates a text's length; token ids are counted (%(default)s)")
    add("--max-body-mib", type=float, default=32.0, metavar="N",
        help="a larger request is answered 413 (%(default)s)")
    add("--body-timeout-s", type=float, default=60.0, metavar="S",
        help="a request whose body takes longer to come is answered 408 (%(default)s)")
    add("--seed", type=int, default=0, help="of random and power_of_two (%(default)s)")
    # fmt: on


def run(options: argparse.Namespace) -> int:
    """Serve until a signal; the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        _serve(options)
    except ModuleNotFoundError as error:
        return _refuse(f"{error.name} is missing: pip install 'sagesched[gateway]'")
    except (ValueError, OSError) as error:
        return _refuse(str(error))
    return 0


def _serve(options: argparse.Namespace) -> None:
    from prometheus_client import disable_created_metrics

    from sagesched.asgi_server import listen, serve, url_of
    from sagesched.gateway.app import create_app
    from sagesched.gateway.config import RouteConfig
    from sagesched.gateway.descriptors import needed, raise_limit

    if options.balance == "oracle":
        raise ValueError("--balance oracle needs to know the future: it is for replay only")
    if options.drain_s < 1:
        raise ValueError(f"--drain-s {options.drain_s}: expected at least 1")
    config = RouteConfig(
        replicas=tuple(options.replica),
        gateway=options.gateway,
        balance=options.balance,
        seed=options.seed,
        poll_s=options.poll_ms / 1000,
        stall_s=options.stall_s,
        max_inflight=options.max_inflight,
        max_queue=options.max_queue,
        queue_timeout_s=options.queue_timeout_s,
        max_body_bytes=options.max_body_mib * 2**20,
        body_timeout_s=options.body_timeout_s,
        bytes_per_token=options.bytes_per_token,
        predictor=options.predictor,
        predictor_deadline_s=options.predictor_deadline_ms / 1000,
        learn=not options.no_learn,
        api_key=_secret(API_KEY_VARIABLE),
        predictor_token=_secret(PREDICTOR_TOKEN_VARIABLE),
    )
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a time stamp for each counter
    app = create_app(config)
    listening = listen(options.host, options.port)
    print(f"sagesched route: listening on {url_of(listening)}", flush=True)
    most = config.max_inflight + config.max_queue + 256
    if warning := raise_limit(needed(config, most)):
        logging.getLogger("sagesched.route").warning(warning)
    serve(app, listening, grace_s=options.drain_s, most_connections=most)
    with contextlib.suppress(OSError):  # nobody may be listening any more
        print("sagesched route: stopped", flush=True)


def _secret(variable: str) -> str | None:
    """Its value without the line end that a file's content brings along; None: not set."""
    return os.environ.get(variable, "").strip() or None


def _refuse(reason: str) -> int:
    print(f"sagesched route: {reason}", file=sys.stderr)
    return 1
