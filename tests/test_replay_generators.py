"""Generated workloads: the prototype's draws, their laws, arrivals, texts to learn from."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagesched.lengths import LengthGrid
from sagesched.replay import laws
from sagesched.replay.arrivals import Bursts, Poisson, make_arrivals
from sagesched.replay.generators import CLUSTER_NAMES, GeneratedWorkload
from sagesched.replay.trace import FIRST_PROMPT_TOKEN, TraceRequest, Workload, checked
from sagesched.replay.workloads import make_workload

PROTOTYPE = Path(__file__).resolve().parents[2] / "shared" / "prototypes" / "replay" / "wl.py"


def sample(workload: Workload, seed: int = 1, rate: float | None = 4.0) -> list[TraceRequest]:
    return list(checked(workload.requests(seed=seed, rate_rps=rate), workload.name))


@pytest.fixture
def prototype(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The prototype's generator, without the engine that its module imports a class from."""
    if not PROTOTYPE.exists():
        pytest.skip("the shared prototypes are not here")
    engine = types.ModuleType("harness2")
    setattr(engine, "TReq", lambda *fields: fields)  # noqa: B010 (mypy knows no such attribute)
    monkeypatch.setitem(sys.modules, "harness2", engine)
    monkeypatch.syspath_prepend(str(PROTOTYPE.parent))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "wl", raising=False)
    yield importlib.import_module("wl")
    sys.modules.pop("wl", None)


@pytest.mark.parametrize("kind", laws.KINDS)
@pytest.mark.parametrize("rate", [None, 3.5])
@pytest.mark.parametrize("burst", [None, (10.0, 30.0, 3.0), (1.0, 4.0, 5.0)])
def test_the_draws_are_the_prototypes(
    prototype: Any, kind: str, rate: float | None, burst: tuple[float, float, float] | None
) -> None:
    arrivals = Bursts(*burst) if burst else Poisson()
    ours = sample(GeneratedWorkload(kind, 300, arrivals), seed=107, rate=rate)
    theirs = prototype.make(300, rate, 107, kind, burst)
    for request, (_, time, ids, output, cluster) in zip(ours, theirs, strict=True):
        assert request.arrival_s == time
        assert request.output_tokens == output
        assert request.cluster == CLUSTER_NAMES[cluster]
        moved = [each + FIRST_PROMPT_TOKEN if each < FIRST_PROMPT_TOKEN else each for each in ids]
        assert list(request.prompt) == moved


@pytest.mark.parametrize("kind", laws.KINDS)
def test_a_seed_is_a_sample_and_texts_have_their_own_draws(kind: str) -> None:
    workload = make_workload(kind, n=200)
    assert sample(workload) == sample(workload)
    assert sample(workload) != sample(workload, seed=2)
    # Without a rate nothing is drawn for arrivals; lengths and texts stay what they were.
    at_once = sample(workload, rate=None)
    timed = sample(workload)
    assert [(r.output_tokens, r.text) for r in at_once] == [
        (r.output_tokens, r.text) for r in timed
    ]
    assert {r.arrival_s for r in at_once} == {0.0}


@pytest.mark.parametrize("kind", laws.KINDS)
@pytest.mark.parametrize("cluster", [0, 1, 38, 39])
def test_the_law_is_what_is_drawn(kind: str, cluster: int) -> None:
    grid = LengthGrid(4096)
    stated = make_workload(kind).law(CLUSTER_NAMES[cluster], grid)
    assert stated is not None
    n = 40_000
    drawn = laws.draw(kind, np.full(n, cluster), np.random.default_rng(5))
    seen = np.array([grid.bin_of(length) for length in drawn.tolist()])
    # Dvoretzky-Kiefer-Wolfowitz: off by more than this with a probability of 2e-7.
    bound = np.sqrt(np.log(2 / 2e-7) / (2 * n))
    shares = np.bincount(seen, minlength=len(grid)).cumsum() / n
    assert np.abs(shares - stated.pmf.cumsum()).max() < bound
    assert stated.pmf[grid.edges > grid.edges[grid.bin_of(2048)]].sum() == 0.0


@given(st.sampled_from(laws.KINDS), st.integers(0, 39), st.integers(1, 5000))
def test_a_law_fits_any_grid(kind: str, cluster: int, longest: int) -> None:
    law = laws.law(kind, cluster, LengthGrid(longest))
    assert law.quantile(1.0) <= min(longest, law.grid.edges[law.grid.bin_of(2048)])


def test_a_class_it_does_not_have_has_no_law() -> None:
    assert make_workload("hetero").law("", LengthGrid(100)) is None


def test_half_of_the_prompts_begin_with_a_system_prompt() -> None:
    requests: list[TraceRequest] = sample(make_workload("cluster", n=2000), rate=None)
    starts = Counter(tuple(request.prompt[:200]) for request in requests)
    shared = [count for count in starts.values() if count > 1]
    assert len(shared) == 20
    assert 900 < sum(shared) < 1100
    assert all(8 <= len(request.prompt) <= 4800 for request in requests)


def test_clusters_have_prompts_of_their_own_in_several_wordings() -> None:
    texts = defaultdict(set)
    for request in sample(make_workload("cluster", n=4000), rate=None):
        texts[request.cluster].add(request.text)
    assert sorted(texts) == sorted(CLUSTER_NAMES)
    assert len(set().union(*texts.values())) == sum(map(len, texts.values()))  # none in two
    assert all(len(each) > 50 for each in texts.values())


def test_a_cluster_can_be_told_from_its_words() -> None:
    """What a predictor that compares texts needs: the nearest text is of the same cluster."""
    from sagesched.predict.hashed import HashedEmbedder

    requests = sample(make_workload("cluster", n=1200), rate=None)
    vectors = np.asarray(HashedEmbedder().embed([request.text for request in requests]))
    alike = vectors @ vectors.T
    np.fill_diagonal(alike, -1.0)
    nearest = alike.argmax(axis=1)
    hits = [requests[i].cluster == requests[j].cluster for i, j in enumerate(nearest)]
    assert np.mean(hits) > 0.9


# Arrivals


def gaps(spec: str, n: int = 40_000, rate: float = 5.0) -> Any:
    times = make_arrivals(spec).times(np.random.default_rng(3), n, rate, 0)
    assert (np.diff(times) >= 0).all()
    assert n / times[-1] == pytest.approx(rate, rel=0.1)
    return np.diff(times)


@pytest.mark.parametrize(("spec", "cv"), [("poisson", 1.0), ("gamma:0.5", 0.5), ("gamma:3", 3.0)])
def test_gaps_vary_as_told(spec: str, cv: float) -> None:
    drawn = gaps(spec)
    assert drawn.std() / drawn.mean() == pytest.approx(cv, rel=0.1)


def test_a_gamma_law_of_cv_one_is_exponential() -> None:
    drawn = np.sort(gaps("gamma:1"))
    expected = 1 - np.exp(-drawn * 5.0)
    assert np.abs(expected - np.arange(1, len(drawn) + 1) / len(drawn)).max() < 0.02


@pytest.mark.parametrize(("ratio", "share"), [(3.0, 0.75), (4.0, 1.0), (0.5, 0.125)])
def test_bursts_hold_their_share_of_the_arrivals(ratio: float, share: float) -> None:
    times = Bursts(10, 30, ratio).times(np.random.default_rng(3), 40_000, 5.0, 0)
    within = (times % 40.0) < 10.0
    assert within.mean() == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize(
    "spec",
    ["", "uniform", "poisson:2", "gamma", "gamma:0", "gamma:x", "gamma:nan", "gamma:inf",
     "bursts:1,2", "bursts:10,30,5", "bursts:0,1,1", "bursts:10,30,nan", "bursts:inf,1,1", "file:"],
)  # fmt: skip
def test_arrivals_that_are_none(spec: str) -> None:
    with pytest.raises(ValueError, match="arrivals"):
        make_arrivals(spec)


@pytest.mark.parametrize(("kind", "n"), [("hetro", 5), ("hetero", 0), ("cluster", -1)])
def test_a_workload_that_is_none(kind: str, n: int) -> None:
    with pytest.raises(ValueError, match=r"lognormal, cluster, hetero|at least 1 request"):
        GeneratedWorkload(kind, n)
    with pytest.raises(ValueError, match=r"hetero, chat|at least 1 request"):
        make_workload(kind, n=n)


def test_a_sample_is_the_same_in_every_process() -> None:
    program = (
        "from sagesched.replay.workloads import make_workload\n"
        "requests = make_workload('hetero', n=50).requests(seed=3, rate_rps=1.0)\n"
        "import hashlib; print(hashlib.sha256(repr(list(requests)).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed},
            check=True, capture_output=True, text=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(digests) == 1


def test_all_at_once_is_at_once_at_any_load() -> None:
    for rate in (0.5, 50.0):
        times = make_arrivals("at-once").times(np.random.default_rng(0), 5, rate, 3)
        assert times.tolist() == [0.0] * 5
