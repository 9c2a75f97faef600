"""``python -m bench.demo``; users call ``scripts/demo``, which sets everything up first."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from . import cli, engine, learning, report, tables
from .plot import save_plot
from .progress import say
from .replay import make_replay
from .run import Bench, run_all
from .saturation import Saturation
from .sharegpt import Tokenizer, share_gpt
from .workload import Workload, built_in


def main(arguments: Sequence[str]) -> int:
    """Run the demo; the process's exit status."""
    options = cli.parse(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        bench = prepare(options)
    except (ValueError, RuntimeError) as error:
        print(f"scripts/demo: {error}", file=sys.stderr)
        return 2
    try:
        return compare(options, bench)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"scripts/demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nscripts/demo: stopped; its servers are stopped too", file=sys.stderr)
        return 130


def prepare(options: cli.Options) -> Bench:
    """Check everything that can be wrong before a server is started.

    Raises:
        ValueError, RuntimeError: with what to change.
    """
    made = engine.make_engine(
        options.model_path, options.max_running, options.step_ms, options.server_args
    )
    engine.require_policies(options.policies, engine.accepted_policies(made))
    model = _local_directory(made.model)
    return Bench(
        engine=made,
        workload=_workload(options, model),
        replay=make_replay(model),
        load=options.load,
        seed=options.seed,
        logs=options.plot.parent,
    )


def compare(options: cli.Options, bench: Bench) -> int:
    """Run all policies, print and write what came out; the exit status."""
    cli.make_results_folder()
    _say_plan(options, bench)
    found = run_all(bench, options.policies, keep=options.keep)
    runs = found.runs
    results = {p: report.policy_result(bench.workload.timed, runs[p]) for p in runs}
    predictions, note = learning.predict_timed(bench.workload)
    families = report.family_rows(bench.workload.timed, predictions, runs)
    title = (
        f"SGLang {engine.sglang_version()}, {bench.engine.label} on "
        f"{engine.hardware(bench.engine)}, load {bench.load:g} x saturation, "
        f"{len(bench.workload.timed)} requests, {bench.engine.max_running} slots"
    )
    _say_results(title, bench.workload, results, families, note, paced=bench.engine.step_ms > 0)
    if found.kept:
        say(f"\n{found.kept}")
    save_plot(options.plot, title, runs, results)
    if options.json:
        facts = _facts(options, bench, found.limit)
        report.write_json(options.json, report.report_json(facts, results, families))
    say(f"\nPlot: {options.plot}" + (f"   Numbers: {options.json}" if options.json else ""))
    return report.exit_status(results)


def _say_plan(options: cli.Options, bench: Bench) -> None:
    work = bench.workload
    unseen = sum(not r.seen for r in work.timed)
    say(
        f"SGLang {engine.sglang_version()}, {bench.engine.label} on "
        f"{engine.hardware(bench.engine)}; workload {work.name}: {len(work.learning)} requests to "
        f"learn from, then {len(work.timed)} timed ones ({unseen} in phrasings never seen), "
        f"{work.mean_output_tokens:.0f} output tokens on average; "
        f"policies {', '.join(options.policies)}"
    )
    say(f"server arguments: {' '.join(bench.engine.arguments('POLICY'))}")


def _say_results(
    title: str,
    work: Workload,
    results: dict[str, report.PolicyResult],
    families: Sequence[report.FamilyRow],
    note: str,
    *,
    paced: bool,
) -> None:
    say(
        f"\n{title}; seconds, measured by the client from when a request was due. "
        f"The history was empty at the start and had learned from {len(work.learning)} requests "
        "before the clock started.\n"
    )
    say(tables.policy_table(results))
    if warning := report.busy_machine(results, paced=paced):
        say(f"\n{warning}")
    for policy, result in results.items():
        if result.first_error:
            say(f"\n{policy}: {result.failed} failed, the first with: {result.first_error}")
    say(f"\nOutput lengths in tokens, real and predicted, and mean TTLT in seconds. {note}\n")
    say(tables.family_table(families))


def _facts(options: cli.Options, bench: Bench, limit: Saturation) -> dict[str, Any]:
    return {
        "sglang": engine.sglang_version(),
        "requests": len(bench.workload.timed),
        "learned": len(bench.workload.learning),
        "unseen": sum(not r.seen for r in bench.workload.timed),
        "workload": bench.workload.name,
        "mean_output_tokens": bench.workload.mean_output_tokens,
        "load": bench.load,
        "seed": options.seed,
        "saturation_rps": limit.requests_per_s,
        "saturation_tokens_per_s": limit.tokens_per_s,
        "rate_rps": bench.load * limit.requests_per_s,
        "model": bench.engine.label,
        "hardware": engine.hardware(bench.engine),
        "step_ms": bench.engine.step_ms,
        "server_args": bench.engine.arguments("POLICY"),
    }


def _workload(options: cli.Options, model: Path) -> Workload:
    sizes = {"seed": options.seed, "learn": options.learn, "requests": options.requests}
    if options.conversations is None:
        return built_in(**sizes)
    return share_gpt(options.conversations, Tokenizer(model), **sizes)


def _local_directory(model: str) -> Path:
    """Where a model's configuration and tokenizer lie; a name is looked up on the hub."""
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(model, allow_patterns=["*.json"]))
    except (HFValidationError, HfHubHTTPError, OSError) as error:
        raise ValueError(
            f"--model-path {model}: neither a directory nor a model that can be found: {error}"
        ) from error


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
