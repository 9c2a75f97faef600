"""Fixtures, skips and threads of all tests, and which of them run together, in parallel."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from .serving import model_directory

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    # Read by NumPy, scikit-learn and torch when they are loaded. Two test processes with two
    # threads each wait for each other on two cores: a small fit then takes a hundred times as long.
    os.environ.setdefault(_name, "1")

# How long an example takes is the machine's mood.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

SEPARATE = {"test_server_entry.py", "test_server_order.py", "test_server_workers.py"}
"""Files whose tests start a server each and share nothing: any process may run them, in parallel.
All other files' tests share what they start, so one process runs them all."""

LONGEST = (
    "test_server_operating.py",
    "test_server_modes.py",
    "test_server_disaggregated.py",
    "test_server_equality.py",
    "test_server_workers.py",
    "test_balance_servers.py",
    "test_server_dp_balance.py",
    "test_server_order.py",
    "test_server_entry.py",
    "test_server_token_ids.py",
    "test_server_admission.py",
    "test_cpu_engine.py",
    "test_server_faults.py",
    "test_server_history.py",
    "test_demo_cli.py",
    "test_replay_calibrate.py",
    "test_replay_harness.py",
    "test_replay_field.py",
    "test_replay_dp_attention.py",
    "test_plugin_verify.py",
    "test_scripts.py",
    "test_package.py",
)
"""Those that take longest, the longest first: in parallel no process has to wait for another one
in the end. Then come all others."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What `--dist loadfile` means here. xdist's groups do nothing under pytest 9.2."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        """Whole files, but for the tests of those that share nothing."""

        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return nodeid if Path(file).name in SEPARATE else file

    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False  # the order is that of the collection
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first; skip what needs a real server where SGLang is not installed."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))
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
