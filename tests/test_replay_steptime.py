"""Step-time models: the roofline and its presets, and models fitted to measured steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagesched.replay.fitted import FitError, FittedStepTime, Line
from sagesched.replay.fitting import fit, fit_line, non_negative
from sagesched.replay.presets import GPUS, MODELS, default_pool_tokens, preset
from sagesched.replay.roofline import Roofline
from sagesched.replay.steptime import Step

FITTING = [
    (model, gpu)
    for model in MODELS
    for gpu in GPUS
    if default_pool_tokens(MODELS[model], GPUS[gpu])
]
STEPS = st.builds(
    Step,
    decode_requests=st.integers(0, 256),
    decode_kv_tokens=st.integers(0, 400_000),
    prefill_tokens=st.integers(0, 8192),
    prefill_attention=st.floats(0, 1e9),
    prefill_requests=st.integers(0, 64),
    moved_kv_tokens=st.integers(0, 100_000),
)


def test_llama_8b_on_h100_by_hand() -> None:
    """1 ms, matrix products, attention: at 90 % of 3.35e12 B/s, 65 and 50 % of 989.4e12 op/s."""
    model = preset("llama-3.1-8b", "h100")
    bandwidth, products, attention = 0.9 * 3.35e12, 0.65 * 989.4e12, 0.5 * 989.4e12
    assert model.seconds(Step(decode_requests=60, decode_kv_tokens=50_000)) == pytest.approx(
        1e-3 + (16e9 + 131_072 * 50_000) / bandwidth
    )
    assert model.seconds(Step(decode_requests=256, decode_kv_tokens=256)) == pytest.approx(
        1e-3 + 2 * 8e9 * 256 / products + 131_072 * 256 / bandwidth
    )
    prefill = Step(prefill_tokens=2000, prefill_attention=2e6, prefill_requests=1)
    assert model.seconds(prefill) == pytest.approx(
        1e-3 + 2 * 8e9 * 2000 / products + 4 * 32 * 4096 * 2e6 / attention
    )
    assert model.seconds(Step(prefill_tokens=1)) == pytest.approx(1e-3 + 16e9 / bandwidth)


def test_decode_rows_ride_along_with_a_prefill() -> None:
    model = preset("llama-3.1-8b", "h100")
    decode = Step(decode_requests=30, decode_kv_tokens=20_000)
    prefill = Step(prefill_tokens=500, prefill_attention=125_000.0, prefill_requests=1)
    mixed = replace(prefill, decode_requests=30, decode_kv_tokens=20_000)
    assert model.seconds(prefill) < model.seconds(mixed)
    assert model.seconds(mixed) < model.seconds(prefill) + model.seconds(decode) - 5e-3


def test_tensor_parallelism_splits_the_work_and_adds_all_reduces() -> None:
    model = preset("llama-3.3-70b-tp4", "h100")
    alone = replace(model, model=replace(model.model, gpus=1))
    step = Step(decode_requests=16, decode_kv_tokens=10_000)
    quarter = model.gaps_s + (alone.seconds(step) - model.gaps_s) / 4
    assert model.seconds(step) == pytest.approx(quarter + 160 * 10e-6, rel=0.02)


def test_moved_kv_costs_its_bytes_over_the_host_link() -> None:
    model = preset("llama-3.1-8b", "h100")
    step = Step(decode_requests=1, decode_kv_tokens=100)
    moving = replace(step, moved_kv_tokens=1000)
    assert model.seconds(moving) - model.seconds(step) == pytest.approx(131_072 * 1000 / 25e9)
    free = replace(model, host_link=float("inf"))
    assert free.seconds(moving) == model.seconds(step)


@pytest.mark.parametrize(("model", "gpu"), FITTING)
@given(step=STEPS)
def test_every_step_takes_finite_time_and_more_work_takes_no_less(
    model: str, gpu: str, step: Step
) -> None:
    time = preset(model, gpu)
    seconds = time.seconds(step)
    assert 0 < seconds < float("inf")
    more = replace(step, decode_requests=step.decode_requests + 8)
    assert time.seconds(more) >= seconds
    assert time.seconds(replace(more, decode_kv_tokens=step.decode_kv_tokens + 9)) >= seconds
    if step.prefill_tokens:
        assert time.seconds(replace(step, prefill_tokens=step.prefill_tokens + 100)) >= seconds


def test_faster_memory_decodes_faster() -> None:
    step = Step(decode_requests=4, decode_kv_tokens=4000)
    times = [preset("llama-3.1-8b", gpu).seconds(step) for gpu in GPUS]
    assert list(GPUS) == ["a40", "a100", "h100", "h200", "b200"]
    assert times == sorted(times, reverse=True)


def test_published_shapes_give_the_known_kv_sizes() -> None:
    sizes = {name: model.kv_bytes for name, model in MODELS.items()}
    assert sizes == {
        "llama-3.1-8b": 131_072,
        "qwen3-32b": 262_144,
        "llama-3.3-70b-tp4": 327_680,
    }


def test_presets_name_what_is_valid() -> None:
    with pytest.raises(ValueError, match=r"--model: unknown 'gpt'.*llama-3\.1-8b, qwen3-32b"):
        preset("gpt", "h100")
    with pytest.raises(ValueError, match=r"--gpu: unknown 'tpu'.*a40, a100, h100, h200, b200"):
        preset("qwen3-32b", "tpu")
    with pytest.raises(ValueError, match=r"does not fit a40.*66 GB.*it fits a100"):
        preset("qwen3-32b", "a40")


def test_the_default_pool_fills_what_the_weights_leave() -> None:
    model = preset("llama-3.1-8b", "h100")
    assert isinstance(model, Roofline)
    pool = default_pool_tokens(model.model, model.gpu)
    assert 16e9 + pool * 131_072 <= 0.9 * 80e9
    assert pool > 300_000


TRUE = FittedStepTime(
    "true",
    Line(0.0, 4e-3, (2e-5, 3e-8)),
    Line(0.0, 5e-3, (4e-5, 1e-9, 3e-4)),
)


def _decodes() -> list[Step]:
    sizes = [(b, length) for b in (1, 2, 4, 8, 16, 32, 64) for length in (32, 512, 4096)]
    return [Step(decode_requests=b, decode_kv_tokens=b * length) for b, length in sizes]


def _prefills() -> list[Step]:
    sizes = [(1, n) for n in (16, 64, 256, 1024, 4096, 8192)] + [(4, 128), (8, 32), (8, 512)]
    return [
        Step(prefill_tokens=k * n, prefill_attention=k * n * n / 2, prefill_requests=k)
        for k, n in sizes
    ]


def _measured(model: FittedStepTime, noise: float) -> FittedStepTime:
    rng = np.random.default_rng(1)
    wobble = lambda: float(np.exp(noise * rng.standard_normal()))  # noqa: E731
    return fit(
        "measured",
        [(step, model.seconds(step) * wobble()) for step in _decodes() * 3],
        [(step, model.seconds(step) * wobble()) for step in _prefills() * 3],
    )


def test_a_fit_recovers_the_model() -> None:
    found = _measured(TRUE, 0.0)
    for step in _decodes() + _prefills():
        assert found.seconds(step) == pytest.approx(TRUE.seconds(step), rel=1e-6)
    assert found.decode.per_unit_s == pytest.approx(TRUE.decode.per_unit_s, rel=1e-6)
    assert found.prefill.per_unit_s == pytest.approx(TRUE.prefill.per_unit_s, rel=1e-6)
    assert found.errors["decode"].p95 < 1e-6
    assert found.limits["decode_kv_tokens"] == 64 * 4096


def test_a_fit_through_noise_stays_close_and_reports_its_error() -> None:
    found = _measured(TRUE, 0.05)
    for step in _decodes() + _prefills():
        assert found.seconds(step) == pytest.approx(TRUE.seconds(step), rel=0.1)
    for error in found.errors.values():
        assert 0.005 < error.median < 0.1 < 10 * error.p95


def test_a_pace_is_found_as_a_floor() -> None:
    paced = replace(TRUE, decode=replace(TRUE.decode, floor_s=8e-3))
    found = _measured(paced, 0.0)
    assert found.decode.floor_s == pytest.approx(8e-3, rel=1e-6)
    for step in _decodes():
        assert found.seconds(step) == pytest.approx(paced.seconds(step), rel=1e-3)
    assert _measured(TRUE, 0.0).decode.floor_s == 0.0


def test_steps_of_one_length_are_all_floor_or_all_overhead() -> None:
    line = fit_line(np.arange(10.0)[:, None], np.full(10, 0.008))
    assert line.seconds([5.0]) == pytest.approx(0.008)
    assert line.seconds([1e6]) == pytest.approx(0.008, rel=1e-3)


@given(
    st.lists(st.lists(st.floats(-3, 3), min_size=3, max_size=3), min_size=4, max_size=12),
    st.integers(0, 2**31),
)
def test_non_negative_least_squares_is_optimal(rows: list[list[float]], seed: int) -> None:
    """No feasible neighbour is better (the problem is convex)."""
    matrix = np.round(np.array(rows), 2)
    rng = np.random.default_rng(seed)
    target = rng.standard_normal(len(rows))
    found = non_negative(matrix, target)
    assert (found >= 0).all()
    error = ((matrix @ found - target) ** 2).sum()
    for _ in range(30):
        other = np.maximum(0.0, found + rng.standard_normal(3) * 10.0 ** -rng.integers(0, 4))
        assert ((matrix @ other - target) ** 2).sum() >= error - 1e-9


def test_a_fitted_mixed_step_pays_one_overhead() -> None:
    mixed = Step(8, 1000, 100, 5000.0, 1)
    prefill = Step(0, 0, 100, 5000.0, 1)
    assert TRUE.seconds(mixed) == pytest.approx(TRUE.seconds(prefill) + 8 * 2e-5 + 1000 * 3e-8)
    moving = replace(TRUE, moved_token_s=1e-5)
    assert moving.seconds(replace(mixed, moved_kv_tokens=100)) == pytest.approx(
        TRUE.seconds(mixed) + 1e-3
    )


def test_a_file_brings_the_same_model_back(tmp_path: Path) -> None:
    model = replace(
        TRUE,
        request_overhead_s=0.004,
        errors={"decode": FitError(9, 0.01, 0.05)},
        engine={"pool_tokens": 100},
        limits={"decode_requests": 64.0},
    )
    model.save(tmp_path / "model.json")
    assert FittedStepTime.load(tmp_path / "model.json") == model


FORMAT = '"format": "sagesched step time 1", "name": "x", "errors": {}'
PREFILL = '"prefill": {"floor_s": 0, "overhead_s": 1, "per_unit_s": [0, 0, 0]}'
GOOD = '{"floor_s": 0, "overhead_s": 1, "per_unit_s": [0, 0]}'


def _file_with(decode: str = GOOD, more: str = "") -> str:
    return f'{{{FORMAT}, "decode": {decode}, {PREFILL}{more}}}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": "something else"}',
        '{"format": "sagesched step time 1", "name": "x"}',
        _file_with('{"floor_s": 0, "overhead_s": -1, "per_unit_s": [0, 0]}'),
        _file_with('{"floor_s": 0, "overhead_s": NaN, "per_unit_s": [0, 0]}'),
        _file_with('{"floor_s": 0, "overhead_s": 1, "per_unit_s": [0]}'),
        _file_with('{"floor_s": 0, "overhead_s": 0, "per_unit_s": [0, 0]}'),
        _file_with(more=', "request_overhead_s": -5'),
        _file_with(more=', "request_overhead_s": "abc"'),
        _file_with(more=', "moved_token_s": NaN'),
        _file_with(more=', "engine": []'),
        _file_with(more=', "engine": {"pool_tokens": "many"}'),
        _file_with(more=', "engine": {"page_size": 2.5}'),
        _file_with(more=', "engine": {"max_running": true}'),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "model.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"model\.json: not a step-time file.*calibrate"):
        FittedStepTime.load(file)


def test_the_files_above_fail_for_their_numbers_alone(tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    file.write_text(_file_with(more=', "engine": {"pool_tokens": 5, "mixed": true}'))
    assert FittedStepTime.load(file).seconds(Step(decode_requests=1)) == 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.json"):
        FittedStepTime.load(tmp_path / "nowhere.json")


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_durations_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="decode: at least one step"):
        fit("x", [(_decodes()[0], seconds)], [(_prefills()[0], 1.0)])
    with pytest.raises(ValueError, match="prefill: at least one step"):
        fit("x", [(_decodes()[0], 1.0)], [])
