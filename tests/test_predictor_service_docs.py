"""The examples in docs/predictor_service.md, against a real process."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sagesched.predictor_service.answer import BUCKETS, QUANTILES
from sagesched.predictor_service.explained import ENOUGH, ENOUGH_ALIKE
from sagesched.predictor_service.guard import MAX_BODY_BYTES
from sagesched.predictor_service.schema import MAX_LIST, FallbackLevel

from .predictor_service import CONTRACT, Process

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "predictor_service.md").read_text()
URL = "http://127.0.0.1:8571"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with Process(log=tmp_path_factory.mktemp("docs") / "log") as process:
        yield process


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_examples(service: Process) -> None:
    commands = re.findall(r"```bash\n(curl .*?)```", PAGE, re.DOTALL)
    answers = [
        json.loads(
            subprocess.run(
                ["bash", "-c", command.replace(URL, service.url)],
                check=True,
                capture_output=True,
            ).stdout
        )
        for command in commands
    ]
    assert [set(answer) for answer in answers] == [CONTRACT, {"accepted"}]


def test_python_example(service: Process) -> None:
    [block] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(block.replace(URL, service.url), {})


def test_the_answer_shown_has_the_contract_fields() -> None:
    [block] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert set(json.loads(block)) == CONTRACT


def test_what_it_says_is_what_the_code_has() -> None:
    for field in (*CONTRACT, *(level.value for level in FallbackLevel)):
        assert f"`{field}`" in PAGE or f"`{field[:-2]}50`, `..._p90`" in PAGE, field
    for limit, bucket in BUCKETS:
        assert re.search(rf"`{bucket.value}` up to {limit}\b", PAGE)
    assert all(f"{q:g}" in PAGE for q in QUANTILES)
    assert f"at least {ENOUGH_ALIKE} finished requests" in PAGE
    for level, count in ENOUGH.items():
        assert f"{count} " in PAGE, level
    assert f"over {MAX_BODY_BYTES // 2**20} MiB" in PAGE
    assert f"up to {MAX_LIST} at a time" in PAGE
