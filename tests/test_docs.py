"""The Python in the documentation runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sagesched.plugin.control import DIAL_KEY, LARRY_KEY, POLICY_KEY
from sagesched.plugin.settings import VARIABLES

ROOT = Path(__file__).resolve().parents[1]
TUNING = ROOT / "docs" / "tuning.md"


@pytest.mark.parametrize("name", ["README.md", "docs/kernel.md", "docs/balance.md"])
def test_python_blocks_run(name: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
    assert blocks
    exec("\n".join(blocks), {})


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "docs/kernel.md",
        "docs/predictor_service.md",
        "docs/balance_deploy.md",
        "docs/balance_dp.md",
        "bench/README.md",
    ],
)
def test_links_lead_somewhere(name: str) -> None:
    file = ROOT / name
    for link in re.findall(r"\]\(([^)#:]+)\)", file.read_text()):
        assert (file.parent / link).exists(), link


def test_the_readme_lists_every_setting_and_no_other() -> None:
    listed = re.findall(r"^\| `(SAGESCHED_\w+)` \|", (ROOT / "README.md").read_text(), re.M)
    assert sorted(listed) == sorted(VARIABLES)


def test_the_tuning_guide_names_metrics_that_there_are() -> None:
    pytest.importorskip("prometheus_client")
    code = (
        "from sagesched.plugin import metrics; metrics.enable()\n"
        "from prometheus_client import REGISTRY, generate_latest\n"
        "print(generate_latest(REGISTRY).decode())"
    )
    page = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    made = set(re.findall(r"^# TYPE (sagesched_\w+)", page.stdout, re.M))
    named = set(re.findall(r"sagesched_\w+", TUNING.read_text())) - {
        DIAL_KEY,
        POLICY_KEY,
        LARRY_KEY,
    }
    assert len(named) > 10
    assert named - made == set()
    assert DIAL_KEY in made  # a metric is called like it
