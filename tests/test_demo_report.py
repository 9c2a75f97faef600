"""The demo's numbers: statistics, saturation, the JSON contract, tables and the plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.demo.client import Outcome
from bench.demo.learning import Prediction, predict_timed
from bench.demo.plot import save_plot
from bench.demo.report import (
    PolicyResult,
    busy_machine,
    exit_status,
    family_rows,
    policy_result,
    report_json,
    write_json,
)
from bench.demo.saturation import saturation
from bench.demo.tables import family_table, policy_table
from bench.demo.workload import Request, built_in

# The fields that issue trackers, scripts and people read; more may be added beside them.
CONTRACT = {
    "mean_ttlt_s", "p50_ttlt_s", "p95_ttlt_s", "p99_ttlt_s", "mean_ttft_s", "throughput_rps",
    "failed",
}  # fmt: skip


def request(tokens: int = 10, family: str = "facts", seen: bool = True) -> Request:
    return Request(family, "text", tokens, seen)


def finished(due: float, ttft: float, ttlt: float, tokens: int = 10) -> Outcome:
    return Outcome(due, due, due + ttft, due + ttlt, tokens)


def failed(due: float = 0.0) -> Outcome:
    return Outcome(due, due, None, due + 99, error="HTTP 500: oops")


def result(runs: Sequence[Outcome]) -> PolicyResult:
    return policy_result([request()] * len(runs), runs)


def test_times_count_from_when_a_request_was_due() -> None:
    late = Outcome(due=1.0, sent=1.5, first=2.0, done=4.0, tokens=10)
    summary = result([late])
    assert summary.mean_ttlt_s == pytest.approx(3.0)
    assert summary.mean_ttft_s == pytest.approx(1.0)
    assert summary.client_lag_p99_s == pytest.approx(0.5)


def test_percentiles_interpolate_between_ranks() -> None:
    summary = result([finished(0, 0.1, t) for t in range(101)])
    assert summary.mean_ttlt_s == pytest.approx(50)
    assert (summary.p50_ttlt_s, summary.p95_ttlt_s, summary.p99_ttlt_s) == (50, 95, 99)
    assert result([finished(0, 0, 0), finished(0, 0, 1)]).p95_ttlt_s == pytest.approx(0.95)


def test_throughput_is_over_the_whole_timed_part() -> None:
    summary = result([finished(2, 1, 3), finished(4, 1, 8)])
    assert summary.wall_s == pytest.approx(10)
    assert summary.throughput_rps == pytest.approx(0.2)


def test_failures_are_counted_and_kept_out_of_the_times() -> None:
    summary = result([finished(0, 1, 2), failed()])
    assert (summary.failed, summary.mismatched) == (1, 0)
    assert summary.mean_ttlt_s == pytest.approx(2)
    assert summary.first_error == "HTTP 500: oops"


def test_a_run_in_which_everything_failed_is_still_reported() -> None:
    summary = result([failed(), failed()])
    assert (summary.failed, summary.throughput_rps, summary.mean_ttlt_s) == (2, 0, 0)


def test_a_length_that_was_not_replayed_exactly_is_a_mismatch() -> None:
    outcomes = [finished(0, 1, 2, tokens=10), finished(0, 1, 2, tokens=11)]
    assert result(outcomes).mismatched == 1


def test_exit_status_tells_failures_and_mismatches() -> None:
    good = result([finished(0, 1, 2)])
    assert exit_status({"fcfs": good}) == 0
    assert exit_status({"fcfs": good, "gittins": result([failed()])}) == 1
    assert exit_status({"fcfs": result([finished(0, 1, 2, tokens=3)])}) == 1


def test_the_json_file_has_the_agreed_fields(tmp_path: Path) -> None:
    runs = {"fcfs": [finished(0, 1, 2)], "gittins": [finished(0, 1, 1)]}
    results = {policy: result(run) for policy, run in runs.items()}
    rows = family_rows([request()], None, runs)
    file = tmp_path / "new folder" / "out.json"
    write_json(file, report_json({"sglang": "1.2.3", "requests": 1}, results, rows))
    written = json.loads(file.read_text())
    assert written["sglang"] == "1.2.3"
    assert written["requests"] == 1
    assert set(written["policies"]) == {"fcfs", "gittins"}
    for fields in written["policies"].values():
        assert set(fields) >= CONTRACT
        assert all(isinstance(fields[name], (int, float)) for name in CONTRACT)


def test_families_compare_predicted_with_real_lengths() -> None:
    requests = [request(10), request(20, seen=False), request(100, "essays")]
    predictions = [
        Prediction(12, 11, 5, 15),
        Prediction(14, 11, 5, 15),
        Prediction(90, 80, 50, 200),
    ]
    run = [finished(0, 1, 2), finished(0, 1, 4), failed()]
    facts, essays, everything = family_rows(requests, predictions, {"fcfs": run})
    assert (facts.family, facts.requests, facts.unseen) == ("facts", 2, 1)
    assert (facts.mean_tokens, facts.predicted_mean_tokens) == (15, 13)
    assert (facts.median_tokens, facts.predicted_median_tokens) == (15, 11)
    assert facts.within_p10_p90 == pytest.approx(0.5)
    assert facts.mean_ttlt_s == {"fcfs": 3}
    assert essays.within_p10_p90 == 1
    assert (everything.family, everything.requests) == ("all", 3)


def test_tables_show_every_policy_with_its_ratio_to_fcfs() -> None:
    runs = {"fcfs": [finished(0, 2, 4)], "gittins": [finished(0, 1, 1)]}
    table = policy_table({policy: result(run) for policy, run in runs.items()}).splitlines()
    assert len({len(line) for line in table}) == 1  # aligned
    assert table[2].startswith("| fcfs")
    assert table[3].startswith("| gittins")
    assert "x 0.25" in table[4]
    families = family_table(family_rows([request()], None, runs))
    assert "TTLT gittins" in families
    assert "| -" in families.replace("  ", "")  # no prediction


def test_saturation_is_the_token_rate_of_the_full_middle() -> None:
    # 10 slots: each request takes 5 s for 50 tokens, one ends every half second.
    outcomes = [finished(0, i * 0.5, i * 0.5 + 5, tokens=50) for i in range(100)]
    found = saturation(outcomes, mean_output_tokens=25)
    assert found.tokens_per_s == pytest.approx(100, rel=0.02)
    assert found.requests_per_s == pytest.approx(4, rel=0.02)


def test_saturation_needs_finished_requests() -> None:
    with pytest.raises(ValueError, match="1 of 9 requests were finished"):
        saturation([finished(0, 1, 2), *[failed()] * 8], 25)


def test_a_machine_that_was_busy_during_one_policy_is_noticed() -> None:
    def run(seconds: float) -> PolicyResult:
        return result([finished(0, i * seconds, (i + 10) * seconds, 50) for i in range(100)])

    assert busy_machine({"fcfs": run(0.5), "gittins": run(0.5)}) == ""
    assert "100 to 200 output tokens/s" in busy_machine({"fcfs": run(0.5), "gittins": run(0.25)})
    assert busy_machine({"fcfs": result([failed()])}) == ""
    a_tenth_slower = {"fcfs": run(0.5), "gittins": run(0.55)}
    assert busy_machine(a_tenth_slower) == ""
    assert "output tokens/s" in busy_machine(a_tenth_slower, paced=True)


def test_predictions_tell_the_families_apart() -> None:
    pytest.importorskip("sagesched.predict")
    workload = built_in(seed=0, learn=200, requests=200)
    predictions, note = predict_timed(workload)
    assert predictions is not None
    assert "200 requests" in note
    medians: dict[str, list[float]] = {}
    for timed, prediction in zip(workload.timed, predictions, strict=True):
        medians.setdefault(timed.family, []).append(prediction.median)
    mean = {family: sum(values) / len(values) for family, values in medians.items()}
    assert mean["facts"] < mean["summaries"] < mean["essays"]
    assert all(p.low <= p.median <= p.high for p in predictions)


def test_the_plot_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    runs = {
        "fcfs": [finished(0, 1, 2 + i) for i in range(9)],
        "gittins": [finished(0, 1, 1 + i) for i in range(9)],
    }
    file = tmp_path / "plots" / "out.png"
    save_plot(file, "title", runs, {policy: result(run) for policy, run in runs.items()})
    assert file.read_bytes().startswith(b"\x89PNG")
    assert file.stat().st_size > 10_000
