"""The table of releases that ``scripts/matrix`` keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.matrix import main

RUN = """<testsuites><testsuite>
<testcase classname="tests.test_server_a" name="one"/>
<testcase classname="tests.test_server_a" name="two"><{tag} message="because&#10;of"/></testcase>
<testcase classname="tests.test_server_b" name="three"/>
</testsuite></testsuites>"""


def test_the_table_counts_and_names_what_did_not_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = []
    for number, (release, tag) in enumerate(
        (("1.0", "failure"), ("1.0", "skipped"), ("2.0", "error"), ("3.0", "properties"))
    ):
        path = tmp_path / f"{number}.xml"
        path.write_text(RUN.format(tag=tag))
        arguments.append(f"{release}={path}")
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "| tests | 1.0 | 2.0 | 3.0 |" in text
    assert "| `test_server_a.py` | 1 passed, 1 skipped | 1 passed, 1 failed | 2 passed |" in text
    assert "- `two` skipped: because\n" in text
    assert "- `two` failed: because\n" in text
    assert "On 3.0" not in text
