"""``sagesched calibrate``: what it measures, and which servers it refuses."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from sagesched.cost import CostModel
from sagesched.plugin.settings import read_settings
from sagesched.replay.calibrate import add_arguments, cost_of, run
from sagesched.replay.fitted import FittedStepTime, Line
from sagesched.replay.measure import decode_step, stall
from sagesched.replay.probe import Event
from sagesched.replay.probe_plan import Prompts, decode_plan, prefill_plan
from sagesched.replay.server_info import ServerInfo
from sagesched.replay.steptime import Step

from .calibration import DECODE_S, PREFILL_S, FakeEngine, handler_of, serving
from .serving import start_server

SMALL = ["--max-batch", "2", "--max-prompt", "64", "--tokens", "40", "--repeats", "1"]
INFO = ServerInfo("m", "0", 20_000, 16, 4096, 2048, 1, False, True, 1.0, 1)


def _calibrate(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(arguments))


def test_the_cost_follows_from_measured_steps() -> None:
    """20 running of 1,000 KV tokens each: a step of 30 ms, in which 300 prompt tokens could be
    prefilled, and which costs the batch 20 * (500 + 1,000)."""
    model = FittedStepTime(
        "m", Line(0.0, 0.01, (0.0, 1e-6)), Line(0.0, 0.0, (1e-4, 0.0, 0.0)),
        engine={"pool_tokens": 20_000, "max_running": 40},
    )  # fmt: skip
    assert cost_of(model) == CostModel(500.0, 1.0, 20 * 1500 / 300)
    assert cost_of(replace(model, engine={})) is None


def _refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert _calibrate(*arguments) == 1
    return capsys.readouterr().err


def test_a_server_is_measured_and_the_model_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sagesched.replay.calibrate.POOR_FIT", float("inf"))  # a busy machine
    file = tmp_path / "model.json"
    engine = FakeEngine()
    with serving(handler_of(engine)) as url:
        extra = '{"custom_logit_processor": "x", "sampling_params": {"custom_params": {"n": 9}}}'
        flags = [*SMALL, "--repeats", "3", "--json", str(file), "--request", extra]
        assert _calibrate(url, *flags) == 0
    model = FittedStepTime.load(file)
    # A sleep is never shorter than asked for; how much longer is the machine's business.
    assert model.seconds(Step(decode_requests=2, decode_kv_tokens=100)) > 0.7 * DECODE_S
    assert model.seconds(Step(0, 0, 64, 2048.0, 1)) > 0.3 * PREFILL_S
    assert model.name == "fake-1b"
    assert model.engine["pool_tokens"] == 20_000
    assert model.engine["max_running"] == 16
    assert model.limits["decode_requests"] == 2
    printed = capsys.readouterr()
    assert "relative error" in printed.out
    assert "beside the steps, per request" in printed.out
    said = re.search(r"SAGESCHED_COST=(\S+)", printed.out)
    assert said is not None
    weights = read_settings({"SAGESCHED_COST": said[1]}).cost
    assert weights is not None
    assert weights.token == pytest.approx(20_000 / 16)
    assert "decode 2 x 32 tokens" in printed.err
    for body in engine.seen:
        assert body["custom_logit_processor"] == "x"
        assert body["sampling_params"]["custom_params"] == {"n": 9}
        assert body["sampling_params"]["ignore_eos"] is True
    prompts = [tuple(p) for body in engine.seen for p in body["input_ids"]]
    assert len(set(prompts)) == len(prompts)


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert "http://127.0.0.1:9 does not answer" in _refusal(capsys, "http://127.0.0.1:9")


@pytest.mark.parametrize(
    "url",
    ["localhost:30000", "ftp://host", "", "http://", "http://a:99999", "http://a:b", "http://[::1"],
)
def test_no_address(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no server address; expected one such as" in _refusal(capsys, url)


def test_what_cannot_be_used_is_told_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    nowhere = _refusal(capsys, "http://127.0.0.1:9", "--json", "/nowhere/at/all.json")
    assert "--json: cannot write /nowhere/at/all.json" in nowhere
    assert "API key" in _refusal(capsys, "http://127.0.0.1:9", "--api-key", "two\nlines")


def test_another_web_server(capsys: pytest.CaptureFixture[str]) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>It works</html>")

        def log_message(self, *args: Any) -> None:
            pass

    with serving(Handler) as url:
        message = _refusal(capsys, url)
    assert "does not answer like an SGLang server" in message
    assert "It works" in message


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (FakeEngine(foreign=500), "is busy: it computed"),
        (FakeEngine(abort=True), "aborted a probe"),
        (FakeEngine(info={"dp_size": 2}), "2 data-parallel replicas"),
        (FakeEngine(info={"max_total_num_tokens": 30}), "too small for any probe"),
        (FakeEngine(info={"max_total_num_tokens": None}), "does not answer like an SGLang server"),
    ],
)
def test_servers_that_cannot_be_measured(
    engine: FakeEngine, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(handler_of(engine)) as url:
        assert said in _refusal(capsys, url, *SMALL)


def test_a_server_that_does_not_come_to_rest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sagesched.replay.probe.IDLE_WAIT_S", 0.2)
    with serving(handler_of(FakeEngine(busy=True))) as url:
        assert "is busy: it does not flush its cache" in _refusal(capsys, url, *SMALL)


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_request_fields_must_be_an_object(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _calibrate("http://127.0.0.1:9", "--request", text)
    assert "--request" in capsys.readouterr().err


def _streams(starts: list[int], tokens: int, step_s: float) -> list[Event]:
    """Streams of which number i has its first token at step ``starts[i]``."""
    return [
        Event((start + t) * step_s, index, t + 1, 0, t + 1 == tokens)
        for index, start in enumerate(starts)
        for t in range(tokens)
    ]


def test_a_decode_step_is_taken_while_all_requests_run() -> None:
    """Streams that began alone, at twice the speed, do not count before the last one is there."""
    events = [*_streams([0, 10], 40, 0.01)]
    fast = [Event(-0.005 * t, 0, 0, 0, False) for t in range(20, 0, -1)]
    measured = decode_step(Prompts(2, 100), fast + events)
    assert measured is not None
    step, seconds = measured
    assert seconds == pytest.approx(0.01)
    assert step.decode_requests == 2
    # From step 10 to 39, in the middle: 26 and 16 tokens (the first event has one already).
    assert step.decode_kv_tokens == pytest.approx(2 * 100 + 25.5 + 15.5, abs=1)


def test_requests_that_never_ran_together_are_not_measured() -> None:
    assert decode_step(Prompts(2, 100), _streams([0, 40], 40, 0.01)) is None
    assert decode_step(Prompts(2, 100), _streams([0, 35], 40, 0.01)) is None
    assert decode_step(Prompts(3, 100), _streams([0, 0], 40, 0.01)) is None


@pytest.mark.parametrize("lag", [0, 1])
def test_a_stall_is_the_time_lost_by_the_other_stream(lag: int) -> None:
    """Also where the stream's results lag behind by a step, as in SGLang's overlap schedule."""
    times = [0.01 * t for t in range(20)] + [0.01 * t + 0.05 for t in range(20, 45)]
    times[20] -= 0.004 * lag
    events = [Event(at, 0, number, 0, False) for number, at in enumerate(times)]
    step_s, stall_s = stall(events, sent_s=0.1905, done_s=0.245 + 0.01 * lag)
    assert step_s == pytest.approx(0.01)
    assert stall_s == pytest.approx(0.05)


def test_plans_stay_within_what_the_server_holds() -> None:
    decodes = decode_plan(INFO, max_batch=256, max_prompt=100_000, tokens=64)
    assert max(p.requests for p in decodes) == 16
    assert {p.tokens for p in decodes if p.requests == 1} == {32, 256, 1024}
    assert all(p.requests * (p.tokens + 64) <= 0.85 * INFO.pool_tokens for p in decodes)
    prefills = prefill_plan(INFO, max_prompt=100_000)
    assert max(p.requests * p.tokens for p in prefills) == 2048
    assert {p.requests for p in prefills} == {1, 2, 4, 8}


@pytest.mark.server
def test_a_real_server_is_measured_with_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sagesched.replay.calibrate.POOR_FIT", float("inf"))  # a busy machine
    file = tmp_path / "model.json"
    arguments = ("--max-running-requests", "4", "--max-total-tokens", "5000")
    with start_server(*arguments, "--disable-overlap-schedule") as server:
        assert _calibrate(server.url, *SMALL, "--json", str(file)) == 0
    model = FittedStepTime.load(file)
    told = {"max_running": 4, "pool_tokens": 5000, "overlap": False, "mixed": False, "page_size": 1}
    assert model.engine.items() >= told.items()
    assert model.limits["decode_requests"] == 2
    assert model.seconds(Step(decode_requests=1, decode_kv_tokens=50)) > 1e-4
    assert model.seconds(Step(0, 0, 64, 2048.0, 1)) > 1e-4
    assert "relative error" in capsys.readouterr().out
