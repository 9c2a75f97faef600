"""Settings from the environment: read once, checked, with errors that name the variable."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from sagesched.cost import CostModel
from sagesched.plugin.settings import ELSEWHERE, VARIABLES, Settings, is_ours, read_settings


def test_an_empty_environment_gives_the_defaults() -> None:
    assert read_settings({}) == Settings()
    assert read_settings({"SAGESCHED_DIAL": "  "}) == Settings()


def test_every_variable_is_read() -> None:
    settings = read_settings(
        {
            "SAGESCHED_DIAL": "inf",
            "SAGESCHED_PARKED_S": "2.5",
            "SAGESCHED_COST": "1, 0, 2.5",
            "SAGESCHED_ADMISSION": "forecast",
            "SAGESCHED_EMBEDDER": "hashed",
            "SAGESCHED_DEADLINE_MS": "20",
            "SAGESCHED_HISTORY": "500",
            "SAGESCHED_HISTORY_FILE": "~/history.db",
            "SAGESCHED_STORE_PROMPTS": "1",
            "SAGESCHED_TENANT": "label:customer",
            "SAGESCHED_SIMD": "scalar",
            "SAGESCHED_SHADOW": "1",
            "SAGESCHED_DEBUG_ORDER": "1",
            "SAGESCHED_ALLOW_UNTESTED_SGLANG": "1",
        }
    )
    assert settings.dial == math.inf
    assert settings.parked_s == 2.5
    assert settings.cost == CostModel(token=1.0, memory=0.0, prefill=2.5)
    assert settings.admission == "forecast"
    assert settings.embedder == "hashed"
    assert settings.deadline_s == pytest.approx(0.02)
    assert settings.history_records == 500
    assert settings.history_file == Path.home() / "history.db"
    assert settings.store_prompts
    assert settings.tenant == "label:customer"
    assert settings.simd == "scalar"
    assert settings.shadow
    assert settings.debug_order
    assert settings.allow_untested_sglang
    assert len(VARIABLES) == 14, "a new variable needs a line in this test"


def test_every_variable_that_the_code_names_is_known() -> None:
    """One that is set for the router or a script must not stop an engine beside it."""
    root = Path(__file__).resolve().parents[1]
    files = [*(root / "python").rglob("*.py"), *(f for f in (root / "scripts").rglob("*"))]
    named: set[str] = set()
    for file in files:
        if file.is_file() and file.suffix in {"", ".py", ".sh"}:
            # Options of the build are no variables of the environment.
            named |= set(re.findall(r"(?<!define\.)\bSAGESCHED_[A-Z_]+[A-Z]\b", file.read_text()))
    build = set(re.findall(r"SAGESCHED_[A-Z_]+", (root / "CMakeLists.txt").read_text()))
    assert named - build == {*VARIABLES, *ELSEWHERE}
    read_settings(dict.fromkeys(ELSEWHERE, "anything"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SAGESCHED_DIAL", "nan"),
        ("SAGESCHED_DIAL", "-1"),
        ("SAGESCHED_DIAL", "fast"),
        ("SAGESCHED_PARKED_S", "-1"),
        ("SAGESCHED_COST", "inf,1,1"),
        ("SAGESCHED_COST", "1,1,-0.1"),
        ("SAGESCHED_COST", "0,0,0"),
        ("SAGESCHED_COST", "1,1"),
        ("SAGESCHED_COST", "cheap"),
        ("SAGESCHED_EMBEDDER", "oracle"),
        ("SAGESCHED_EMBEDDER", "sentence-transformers:"),
        ("SAGESCHED_EMBEDDER", "hashed:words"),
        ("SAGESCHED_TENANT", "customer"),
        ("SAGESCHED_TENANT", "label:"),
        ("SAGESCHED_DEADLINE_MS", "soon"),
        ("SAGESCHED_DEADLINE_MS", "0"),
        ("SAGESCHED_HISTORY", "0"),
        ("SAGESCHED_HISTORY", "1.5"),
        ("SAGESCHED_HISTORY", "²"),
        ("SAGESCHED_HISTORY", "99999999999"),
        ("SAGESCHED_HISTORY_FILE", "/tmp"),
        ("SAGESCHED_HISTORY_FILE", "histories/"),
        ("SAGESCHED_HISTORY_FILE", "~nobody-of-this-name/history.db"),
        ("SAGESCHED_STORE_PROMPTS", "all"),
        ("SAGESCHED_SIMD", "mmx"),
        ("SAGESCHED_SHADOW", "yes"),
        ("SAGESCHED_ALLOW_UNTESTED_SGLANG", "yes"),
    ],
)
def test_a_bad_value_is_an_error_that_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        read_settings({name: value})


def test_an_unknown_variable_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"SAGESCHED_DAIL.*SAGESCHED_DIAL"):
        read_settings({"SAGESCHED_DAIL": "3"})


@pytest.mark.parametrize(
    "name", ["model", "model:some/folder", "sentence-transformers:maker/small-model"]
)
def test_embedders_may_name_a_model(name: str) -> None:
    assert read_settings({"SAGESCHED_EMBEDDER": name}).embedder == name


def test_a_shadow_is_for_fcfs_only() -> None:
    on, off = {"SAGESCHED_SHADOW": "1"}, {"SAGESCHED_SHADOW": "0"}
    assert is_ours("fcfs", on)
    assert is_ours("gittins", off)
    assert not is_ours("fcfs", off)
    assert not is_ours("lpm", {})
    for policy in ("gittins", "lpm"):
        with pytest.raises(ValueError, match=r"SAGESCHED_SHADOW=1.*--schedule-policy fcfs"):
            is_ours(policy, on)
    with pytest.raises(ValueError, match="expected 0 or 1"):
        is_ours("fcfs", {"SAGESCHED_SHADOW": "on"})
