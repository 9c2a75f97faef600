"""Fixtures and skips shared by all tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from .serving import model_directory

SPREAD = {"test_server_entry.py", "test_server_equality.py", "test_server_order.py"}
"""Files whose tests start a server each and share nothing: any process may run them, in parallel.
All other files' tests share what they start, so one process runs them all."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a real server where SGLang is not installed; say what stays together."""
    for item in items:
        if item.path.name not in SPREAD:
            item.add_marker(pytest.mark.xdist_group(item.path.name))
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
