"""Prompts that come as token ids to a server without a tokenizer."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagesched.lengths import LengthGrid
from sagesched.plugin.prompt import prompt_content
from sagesched.predict import LengthPredictor, make_embedder
from sagesched.predict.base import Embedder, chars_of
from sagesched.predict.features import feature_rows, log_chars
from sagesched.predict.token_ids import SAMPLE_TOKENS, TokenIds, embed_contents, hashed


def ids(*tokens: int) -> TokenIds:
    return TokenIds.of(tokens)


def test_a_long_prompt_is_known_by_both_ends() -> None:
    long = TokenIds.of(list(range(100_000)))
    assert long.count == 100_000
    assert long.sample[:2] == (0, 1)
    assert long.sample[-1] == 99_999
    assert len(long.sample) == 2 * SAMPLE_TOKENS
    assert TokenIds.of(range(2 * SAMPLE_TOKENS)).sample == tuple(range(2 * SAMPLE_TOKENS))


def test_like_sequences_are_neighbours() -> None:
    random = np.random.default_rng(0)
    prompt = random.integers(0, 32_000, 60).tolist()
    changed = [*prompt[:50], *random.integers(0, 32_000, 10).tolist()]
    other = random.integers(0, 32_000, 60).tolist()
    reversed_ = prompt[::-1]
    rows = hashed([ids(*tokens) for tokens in (prompt, prompt, changed, other, reversed_)], 128)
    same, near, far, backwards = (float(rows[0] @ row) for row in rows[1:])
    assert same == pytest.approx(1.0, abs=1e-6)
    assert near > 0.7
    assert abs(far) < 0.4
    assert near < backwards < 1.0 - 1e-3  # the same tokens, but not the same prompt


@given(st.lists(st.integers(-(2**70), 2**70), max_size=400), st.integers(1, 300))
def test_any_numbers_are_embedded(tokens: list[int], dim: int) -> None:
    prompt = ids(*tokens)
    (row,) = hashed([prompt], dim)
    assert row.shape == (dim,)
    assert np.linalg.norm(row) == pytest.approx(1.0, abs=1e-5) or not row.any()
    assert np.isfinite(feature_rows([prompt])).all()


def test_the_same_in_every_batch_and_process() -> None:
    prompts = [TokenIds.of(range(n, 3 * n)) for n in range(20)]
    alone = np.concatenate([hashed([prompt], 64) for prompt in prompts])
    assert np.array_equal(hashed(prompts, 64), alone)
    program = (
        "from sagesched.predict.token_ids import TokenIds, hashed;"
        "print(hashed([TokenIds.of(range(7, 21))], 64).tobytes().hex())"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert run.stdout.strip() == alone[7].tobytes().hex()


def test_texts_and_ids_may_share_a_batch() -> None:
    embedder = make_embedder("hashed")
    rows = embed_contents(embedder, ["some text", ids(1, 2, 3), "other text", ids()])
    assert np.array_equal(rows[[0, 2]], embedder.embed(["some text", "other text"]))
    assert np.array_equal(rows[[1, 3]], hashed([ids(1, 2, 3), ids()], embedder.dim))


def test_an_embedder_that_reads_ids_is_asked() -> None:
    class OfIds:
        name, dim = "ids", 3

        def embed_ids(self, prompts: list[TokenIds]) -> np.ndarray:
            return np.array([[prompt.count, 0, 0] for prompt in prompts], dtype=np.float32)

    embedder: Embedder = OfIds()  # type: ignore[assignment]
    assert embed_contents(embedder, [ids(5, 6)]).tolist() == [[2.0, 0.0, 0.0]]


def test_the_length_is_a_feature() -> None:
    short, long, text = feature_rows([TokenIds.of(range(10)), TokenIds.of(range(900)), "a" * 40])
    assert log_chars(np.stack([short, text])) == pytest.approx(np.log1p([40, 40]), abs=1e-5)
    assert long[0] > short[0]


def test_ids_tell_kinds_of_prompts_apart() -> None:
    predictor = LengthPredictor(make_embedder("hashed"), LengthGrid(4096))
    random = np.random.default_rng(1)
    template = random.integers(0, 30_000, (2, 30))

    def prompt(kind: int) -> TokenIds:
        return ids(*template[kind].tolist(), *random.integers(0, 30_000, 6).tolist())

    for n in range(60):
        vector = predictor.embed([prompt(n % 2)])[0]
        predictor.record(vector, 10 + n % 5 if n % 2 else 900 + n, finished=True)
    long, short = predictor.predict_from(predictor.embed([prompt(0), prompt(1)]))
    assert long.mean() > 10 * short.mean()


class Decoder:
    def decode(self, tokens: list[int], skip_special_tokens: bool) -> str:
        return " ".join(f"w{token}" for token in tokens)


def test_what_a_prediction_is_made_from() -> None:
    def request(text: object = None, tokens: object = None) -> SimpleNamespace:
        return SimpleNamespace(input_text=text, input_ids=tokens)

    assert prompt_content(Decoder(), request("text", [1])) == "text"
    assert prompt_content(Decoder(), request(None, [1, 2])) == "w1 w2"
    assert prompt_content(None, request(None, [1, 2])) == TokenIds((1, 2), 2)
    assert prompt_content(None, request()) == ""
    long = prompt_content(Decoder(), request(None, list(range(1000, 9000))))
    assert isinstance(long, str)
    assert long.startswith("w1000 ")
    assert long.endswith(" w8999")
    assert len(long.split()) == 256
    assert chars_of(long) == pytest.approx(len("w1000 ") * 8000, rel=0.01)
    assert prompt_content(None, request(None, ["junk"])) == ""
