"""The demo's flags, what its requests carry, and a small run on a real server."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bench.demo import cli, replay
from bench.demo.engine import Engine, require_policies
from bench.demo.workload import Request, built_in

REPOSITORY = Path(__file__).resolve().parents[1]
needs_aiohttp = pytest.mark.skipif(
    importlib.util.find_spec("aiohttp") is None,
    reason="aiohttp, which SGLang brings, is missing",
)


def model_directory(folder: Path, **configs: object) -> Path:
    for name, eos in configs.items():
        (folder / f"{name}.json").write_text(json.dumps({"eos_token_id": eos}))
    return folder


def test_the_defaults_compare_fcfs_with_gittins() -> None:
    options = cli.parse([])
    assert options.policies == ("fcfs", "gittins")
    assert options.requests >= 400
    assert options.load == pytest.approx(1.2)
    assert options.conversations is None


def test_flags_are_read(tmp_path: Path) -> None:
    file = tmp_path / "turns.json"
    file.write_text("[]")
    options = cli.parse([
        *("--policies", "fcfs, lpm,lpm", "--workload", "sharegpt", str(file), "--requests", "7"),
        *("--server-args=--page-size 16", "--max-running", "8", "--keep"),
    ])  # fmt: skip
    assert options.policies == ("fcfs", "lpm")
    assert options.conversations == file
    assert options.server_args == ("--page-size", "16")
    assert (options.requests, options.max_running, options.keep) == (7, 8, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--requests", "0"], "--requests must be at least 1"),
        (["--requests", "many"], "--requests"),
        (["--step-ms", "-1"], "--step-ms must be between 0 and 1000"),
        (["--step-ms", "nan"], "--step-ms must be between 0 and 1000"),
        (["--learn", "-1"], "--learn must be at least 0"),
        (["--load", "0"], "--load must be a number above 0"),
        (["--load", "nan"], "--load must be a number above 0"),
        (["--max-running", "0"], "--max-running must be at least 1"),
        (["--policies", ","], "--policies: name at least one"),
        (["--workload", "other"], "expected 'builtin' or 'sharegpt FILE'"),
        (["--workload", "sharegpt"], "expected 'builtin' or 'sharegpt FILE'"),
        (["--workload", "sharegpt", "absent.json"], "there is no file absent.json"),
        (["--server-args", "'open"], "--server-args"),
        (["--json", "."], "--json: . is a directory"),
        (["--request", "5"], "unrecognized arguments"),
    ],
)
def test_a_bad_value_is_refused_before_anything_starts(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.parse(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_an_unknown_policy_is_refused_with_the_names_that_are_known() -> None:
    require_policies(["fcfs"], ["lpm", "fcfs"])
    with pytest.raises(ValueError, match="does not know sjf; it accepts fcfs, lpm"):
        require_policies(["fcfs", "sjf"], ["lpm", "fcfs"])


def test_policies_differ_in_one_server_argument_and_the_user_s_own_come_last() -> None:
    engine = Engine("model", "a model", cpu=True, max_running=4, extra_args=("--page-size", "16"))
    fcfs, other = engine.arguments("fcfs"), engine.arguments("gittins")
    assert [pair for pair in zip(fcfs, other, strict=True) if pair[0] != pair[1]] == [
        ("fcfs", "gittins")
    ]
    assert fcfs[-2:] == ["--page-size", "16"]


@needs_aiohttp
def test_nothing_but_custom_params_tells_the_true_length(tmp_path: Path) -> None:
    from bench.demo.client import request_body

    workload = built_in(seed=0, learn=0, requests=1)
    replayed = replay.make_replay(model_directory(tmp_path, config=2))
    bodies = [
        request_body(Request("facts", "the same text", tokens, True), workload, replayed)
        for tokens in (3, 900)
    ]
    hidden = [body["sampling_params"].pop("custom_params") for body in bodies]
    assert [h["n"] for h in hidden] == [3, 900]
    assert bodies[0] == bodies[1]
    assert "rid" not in bodies[0]  # the server makes a random one
    assert bodies[0]["sampling_params"]["max_new_tokens"] >= 900


def test_every_other_end_token_of_a_model_is_forbidden(tmp_path: Path) -> None:
    model = model_directory(tmp_path, generation_config=[7, 9], config=8)
    replayed = replay.make_replay(model)
    assert replayed.eos == 7
    assert set(replayed.sampling["logit_bias"]) == {"9", "8"}
    assert replayed.params(5) == {"n": 5, "eos": 7}


def test_a_model_without_an_end_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"neither generation_config\.json nor config\.json"):
        replay.make_replay(tmp_path)


EVENT = '{{"meta_info": {{"completion_tokens": {n}, "finish_reason": {reason}}}}}'
STOP, ABORT = '{"type": "stop"}', '{"type": "abort", "message": "queue is full"}'


@asynccontextmanager
async def answering(status: int, *lines: str) -> AsyncIterator[str]:
    """A local HTTP server whose /generate always answers with these lines."""
    from aiohttp import web

    async def generate(request: web.Request) -> web.Response:
        await request.json()
        return web.Response(status=status, text="".join(f"{line}\n\n" for line in lines))

    app = web.Application()
    app.router.add_post("/generate", generate)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@needs_aiohttp
@pytest.mark.parametrize(
    ("status", "lines", "tokens", "error"),
    [
        (200, ["data: " + EVENT.format(n=1, reason="null"),
               "data: " + EVENT.format(n=5, reason=STOP), "data: [DONE]"], 5, None),
        (200, ["data: " + EVENT.format(n=2, reason=ABORT), "data: [DONE]"], 0, "ended early"),
        (200, ["data: " + EVENT.format(n=2, reason="null")], 0, "ended early"),
        (200, ['data: {"error": {"message": "too long"}}'], 0, "too long"),
        (200, ["data: [DONE]"], 0, "without a token"),
        (503, ["busy"], 0, "HTTP 503: busy"),
    ],
)  # fmt: skip
def test_the_client_believes_only_a_stream_that_ended_well(
    tmp_path: Path, status: int, lines: list[str], tokens: int, error: str | None
) -> None:
    from bench.demo.client import Client, Outcome

    workload = built_in(seed=0, learn=0, requests=1)
    replayed = replay.make_replay(model_directory(tmp_path, config=2))

    async def send() -> Outcome:
        async with (
            answering(status, *lines) as url,
            Client.connect(url, workload, replayed) as client,
        ):
            (outcome,) = await client.open_loop(workload.timed, [0.01], lambda done: None)
            return outcome

    outcome = asyncio.run(send())
    assert outcome.tokens == tokens
    assert outcome.due <= outcome.sent <= outcome.done
    assert (outcome.error is None) == (error is None)
    assert error is None or error in str(outcome.error)


@pytest.mark.server
def test_a_small_run_on_a_real_server(tmp_path: Path) -> None:
    pytest.importorskip("sglang", reason="SGLang is not installed")
    pytest.importorskip("matplotlib")
    numbers, plot = tmp_path / "out.json", tmp_path / "out.png"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bench.demo", "--policies", "fcfs", "--requests", "40"),
            *("--learn", "20", "--json", str(numbers), "--plot", str(plot)),
        ],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "scripts")])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads(numbers.read_text())
    fcfs = written["policies"]["fcfs"]
    assert (written["requests"], written["learned"], written["unseen"]) == (40, 20, 20)
    assert (fcfs["failed"], fcfs["mismatched"]) == (0, 0)
    assert 0 < fcfs["mean_ttft_s"] <= fcfs["mean_ttlt_s"] <= fcfs["p99_ttlt_s"]
    assert fcfs["throughput_rps"] > 0
    assert written["saturation_rps"] > 0
    assert "| fcfs" in done.stdout
    assert plot.stat().st_size > 10_000


def test_server_args_may_begin_with_dashes() -> None:
    for given in (["--server-args", "--tp-size 2"], ["--server-args=--tp-size 2"]):
        assert tuple(cli.parse([*given, "--requests", "7"]).server_args) == ("--tp-size", "2")
