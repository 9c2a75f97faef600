"""Fixtures and skips shared by all tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from .serving import model_directory


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a real server where SGLang is not installed."""
    if importlib.util.find_spec("sglang") is not None:
        return
    skip = pytest.mark.skip(reason="SGLang is not installed; scripts/setup installs it")
    for item in items:
        if item.get_closest_marker("server"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def model_dir() -> Path:
    """Directory of the tiny model."""
    return model_directory()
