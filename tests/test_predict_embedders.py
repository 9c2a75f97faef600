"""Embedders take any text, and give the same vector in every batch and every process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sagesched.predict import Embedder, embedder_names, make_embedder, sample_text

untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
any_text = st.text(st.characters(exclude_categories=()), max_size=300)  # surrogates included

ODD_TEXTS = ["", " \n\t", "\ud800", "\x00\x01\x02", "a\ud800b", "🦙" * 3000, "word " * 200_000]


@pytest.fixture(params=["wordllama", "hashed"], scope="module")
def embedder(request: pytest.FixtureRequest) -> Embedder:
    if request.param == "wordllama":
        pytest.importorskip("wordllama", reason="wordllama is not installed")
    return make_embedder(request.param)


def assert_unit_or_zero(rows: np.ndarray, n: int, dim: int) -> None:
    assert rows.shape == (n, dim)
    assert rows.dtype == np.float32
    norms = np.linalg.norm(rows, axis=1)
    assert ((np.abs(norms - 1.0) < 1e-5) | (norms == 0.0)).all()


@settings(untimed, max_examples=50)
@given(texts=st.lists(any_text, max_size=5))
def test_any_text_is_embedded(embedder: Embedder, texts: list[str]) -> None:
    assert_unit_or_zero(embedder.embed(texts), len(texts), embedder.dim)


def test_odd_texts_are_embedded(embedder: Embedder) -> None:
    assert_unit_or_zero(embedder.embed(ODD_TEXTS), len(ODD_TEXTS), embedder.dim)


def test_a_vector_does_not_depend_on_its_batch(embedder: Embedder) -> None:
    texts = [f"tell me about topic {n} " * n for n in range(1, 30)]
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    assert np.array_equal(embedder.embed(texts), alone)


def test_like_prompts_are_alike(embedder: Embedder) -> None:
    first, second, other = embedder.embed(
        [
            "Write a Python function that sorts a list of numbers.",
            "Write a Python function which sorts a list of words.",
            "What is the capital of France?",
        ]
    )
    assert first @ second > first @ other + 0.2


@untimed
@given(any_text.map(lambda text: text * 20))
def test_sample_is_short_encodable_and_stable(text: str) -> None:
    sample = sample_text(text)
    assert len(sample) <= 2000
    assert sample.encode("utf-8", "strict").decode() == sample
    assert sample_text(sample) == sample


def test_a_long_prompt_is_known_by_both_ends() -> None:
    sample = sample_text("head" + "x" * 1_000_000 + "tail")
    assert sample.startswith("head")
    assert sample.endswith("tail")


def test_hashed_vectors_are_the_same_in_another_process() -> None:
    program = (
        "from sagesched.predict import make_embedder;"
        "print(make_embedder('hashed').embed(['the quick brown fox']).tobytes().hex())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed, "PYTHONPATH": path},
            check=True, capture_output=True, text=True,
        ).stdout
        for path in [":".join(sys.path)]
        for seed in ("1", "2")
    }  # fmt: skip
    here = make_embedder("hashed").embed(["the quick brown fox"]).tobytes().hex()
    assert runs == {here + "\n"}


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'bert'") as caught:
        make_embedder("bert")
    for name in embedder_names():
        assert name in str(caught.value)


def test_auto_falls_back_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "wordllama", None)  # as if not installed
    assert make_embedder("auto").name == "hashed"
    assert "sagesched[predict]" in caplog.text


def test_loading_leaves_the_logging_alone() -> None:
    pytest.importorskip("wordllama", reason="wordllama is not installed")
    program = (
        "import logging; from sagesched.predict import make_embedder; make_embedder('wordllama');"
        "root = logging.getLogger(); print(root.level, root.handlers)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert run.stdout == f"{30} []\n"


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = (
        "import sys, sagesched.predict, sagesched.lengths;"
        "print(sorted({'faiss', 'wordllama', 'tokenizers', 'torch'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert run.stdout == "[]\n"
