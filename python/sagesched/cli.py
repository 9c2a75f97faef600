"""The ``sagesched`` command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from sagesched._version import __version__


def build_parser() -> argparse.ArgumentParser:
    """The command line; every sub-command sets ``run``, a function of the parsed arguments."""
    parser = argparse.ArgumentParser(
        prog="sagesched",
        description="Uncertainty-aware request scheduling for SGLang. "
        "To serve with it: sglang serve --model-path MODEL --schedule-policy gittins",
    )
    parser.add_argument("--version", action="version", version=f"sagesched {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    doctor = commands.add_parser(
        "doctor",
        help="check that this environment can serve with our policies",
        description="Print the versions, every hook's state, patches, kernel, embedder, history "
        "and settings. Exit status 1 and advice when something is wrong.",
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON object instead")
    doctor.set_defaults(run=_doctor)
    _add_replay(commands)
    _add_bench(commands)
    _add_predictor(commands)
    _add_evaluate(commands)
    _add_history(commands)
    _add_switch(commands)
    _add_route(commands)
    return parser


def _add_bench(commands: Any) -> None:
    from sagesched.bench import cli

    bench = commands.add_parser("bench", help="verify and time the compiled core")
    parts = bench.add_subparsers(title="what", metavar="WHAT", required=True)
    index = parts.add_parser(
        "index",
        help="the index kernel, the curve and the rank engine",
        description="Verify the index kernel, the curve and the rank engine against a reference, "
        "then time them against NumPy, plain Python, Numba where it is installed, and the speed of "
        "memory. Takes some minutes; --quick half a minute.",
    )
    cli.add_arguments(index)
    index.set_defaults(run=cli.run)


def _add_predictor(commands: Any) -> None:
    from sagesched.predictor_service import cli

    predictor = commands.add_parser("predictor", help="the length predictor behind HTTP")
    parts = predictor.add_subparsers(title="what", metavar="WHAT", required=True)
    serve = parts.add_parser(
        "serve",
        help="an HTTP service for gateways, routers and several engines",
        description="Serve predictions of output lengths, and learn from outcomes, over HTTP: the "
        "plug-in's predictor for gateways and routers. docs/predictor_service.md describes it.",
    )
    cli.add_arguments(serve)
    serve.set_defaults(run=cli.run)


def _add_replay(commands: Any) -> None:
    from sagesched.replay import calibrate, cli

    replay = commands.add_parser(
        "replay", help="what each policy would do to a trace: SGLang's scheduler in virtual time"
    )
    cli.add_arguments(replay)
    replay.set_defaults(run=cli.run)
    fit = commands.add_parser(
        "calibrate", help="fit a step-time model for replay to a running server"
    )
    calibrate.add_arguments(fit)
    fit.set_defaults(run=calibrate.run)


def _add_evaluate(commands: Any) -> None:
    from sagesched.evaluate import cli

    evaluate = commands.add_parser(
        "evaluate", help="how well the output lengths of recorded requests can be predicted"
    )
    cli.add_arguments(evaluate)
    evaluate.set_defaults(run=cli.run)


def _add_history(commands: Any) -> None:
    from sagesched.history import cli

    history = commands.add_parser(
        "history", help="look into a history file, export, import or delete records"
    )
    cli.add_arguments(history)


def _add_switch(commands: Any) -> None:
    from sagesched import switch

    change = commands.add_parser(
        "switch",
        help="change a running server's policy and dial, and say what is in force",
        description=switch.DESCRIPTION,
    )
    switch.add_arguments(change)
    change.set_defaults(run=switch.run)


def _add_route(commands: Any) -> None:
    from sagesched.gateway import cli

    route = commands.add_parser(
        "route",
        help="a router for several SGLang servers: each request where it starts soonest",
        description=cli.DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cli.add_arguments(route)
    route.set_defaults(run=cli.run)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = build_parser().parse_args(arguments)
    status: int = options.run(options)
    return status


def _doctor(options: argparse.Namespace) -> int:
    from sagesched.doctor import main as run_doctor

    return run_doctor(as_json=options.json)


if __name__ == "__main__":
    raise SystemExit(main())
