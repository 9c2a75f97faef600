"""The replay's report: one safe, self-contained page that says what would change."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagesched.replay.details import details_of
from sagesched.replay.output import session_json
from sagesched.replay.plan import make_plan
from sagesched.replay.progress import Progress
from sagesched.replay.report import labels, svg
from sagesched.replay.report.html import report_html
from sagesched.replay.report.view import load_views
from sagesched.replay.report.words import focus, headline, load_sentences
from sagesched.replay.result import Row
from sagesched.replay.session import Session, run_tasks
from sagesched.replay.table import session_table
from sagesched.replay.tasks import MakeWorker, Run, Saturation, SaturationTask
from tests.replay_fakes import NASTY, FakeBackend, FakeHarness, FakeWorkload, parsed

VOID = {"meta", "input", "br"}


def session(policies: str = "fcfs,shortest,oracle-shortest", *flags: str) -> Session:
    """A command's session, in this process."""
    backend = FakeBackend(notes=(f"the trace says {NASTY}",))
    arguments = ["--workload", "hetero", "--n", "400", "--load", "0.6,1.2", "--seeds", "2"]
    plan = make_plan(parsed(*arguments, "--policies", policies, *flags), backend)
    worker = MakeWorker(backend)(plan.scenario.engine)
    saturations = {}
    for seed in plan.seeds:
        found = worker(SaturationTask(plan.scenario, seed))
        assert isinstance(found, Saturation)
        saturations[seed] = found
    runs = [worker(task) for task in run_tasks(plan, saturations)]
    return Session(plan, saturations, [run for run in runs if isinstance(run, Run)])


@pytest.fixture(scope="module")
def found() -> Session:
    return session()


@pytest.fixture(scope="module")
def page(found: Session) -> str:
    return report_html(found)


class Balance(HTMLParser):
    """Whether every element that is opened is closed in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag


def test_the_page_is_well_formed(page: str) -> None:
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert {"svg", "table", "section"} <= parser.tags
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(drawing)
    assert "nan" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL).lower().split()
    assert not re.search(r'"(nan|inf)', page)


def test_the_page_needs_nothing_else(page: str) -> None:
    assert not re.search(r"https?://|@import|url\(|<link|<img|\ssrc=", page)


def test_strings_from_outside_are_escaped(page: str, found: Session) -> None:
    assert found.plan.workload_name.endswith(NASTY)
    assert NASTY not in page
    assert page.count("<script>") == 1
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in page


def test_the_page_has_all_parts(page: str, found: Session) -> None:
    for heading in (
        "Time to last token", "Time to first token", "Every policy, relative to fcfs",
        "Requests waiting", "KV pool in use", "Who wins, who pays", "By length of the answer",
        "By length of the prompt", "By class", "How far to trust this", "Settings",
    ):  # fmt: skip
        assert heading in page, heading
    assert page.count('<section class="load') == 2
    for policy in found.plan.policies:
        assert page.count(f'<g class="mark" data-policy="{policy}">') == 2 * 8
    assert "oracle-shortest (dashed)" in page


def test_failures_and_notes_are_shown(found: Session) -> None:
    broken = Session(found.plan, found.saturations, found.runs[:7], ["shortest: <b>died</b>"])
    page = report_html(broken)
    assert "1 runs failed" in page
    assert "shortest: &lt;b&gt;died&lt;/b&gt;" in page
    assert "raised 6 errors" in page
    assert "the trace says" in page


def test_the_words_tell_winners_and_losers(found: Session) -> None:
    views = load_views(found)
    plan = found.plan
    assert focus(views, plan.baseline, plan.yardsticks) == "shortest"  # not the yardstick
    assert re.search(
        r"shortest instead of fcfs: .* \d+% sooner on average", headline(views, "shortest")
    )
    told = " ".join(load_sentences(views[1], "shortest"))
    ratio = views[1].find("shortest").summary.ratios["mean_ttlt_s"].mean  # type: ignore[union-attr]
    assert ratio < 0.9
    assert f"&minus;{1 - ratio:.0%}" in told
    assert "at least 5% sooner" in told


def test_a_change_that_nobody_sees_is_no_headline(found: Session) -> None:
    quick = [replace(run, row=_scaled(run.row, 0.001)) for run in found.runs]
    views = load_views(Session(found.plan, found.saturations, quick, []))
    assert "would change little" in headline(views, "shortest")


def _scaled(row: Row, factor: float) -> Row:
    times = [field.name for field in fields(Row) if field.name.endswith("_s")]
    return replace(row, **{name: factor * getattr(row, name) for name in times})


def test_shares_of_winners_are_of_the_same_requests(found: Session) -> None:
    load = load_views(found)[1]
    base, other = load.find("fcfs"), load.find("shortest")
    assert base is not None
    assert other is not None
    assert (base.sooner, base.later) == (0, 0)
    by_policy = {
        (run.row.policy, run.row.seed): run.details.sample_ttlt_s
        for run in found.runs
        if run.row.load == 1.2
    }
    sooner = sum(
        (by_policy["shortest", seed] < 0.95 * by_policy["fcfs", seed]).sum() for seed in (100, 101)
    )
    assert other.sooner == pytest.approx(sooner / 800)


def test_a_baseline_alone_and_a_missing_one_are_reported(found: Session) -> None:
    assert "What fcfs does to this traffic" in report_html(session("fcfs"))
    without = [run for run in found.runs if run.row.policy != "fcfs"]
    page = report_html(Session(found.plan, found.saturations, without, ["fcfs: died"]))
    assert "No run of fcfs to compare with" in page


def test_without_fcfs_the_first_policy_is_the_baseline() -> None:
    one = session("oracle-shortest,shortest")
    assert "x oracle-shortest" in session_table(one)
    assert "relative to oracle-shortest" in report_html(one)


def test_the_terminal_table_is_aligned(found: Session) -> None:
    text = session_table(found)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in table[:5]}) == 1
    assert "Load 1.2" in text
    assert "± " in table[3]
    assert "No schedule can have a mean TTLT below" in text


def test_progress_in_a_log_is_a_line_per_run(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as stream:
        progress = Progress(stream)
        progress.start(2)
        progress.ended("one", "")
        progress.ended("two", "it broke")
        progress.close()
        stream.seek(0)
        lines = stream.read().splitlines()
    assert [line.removeprefix("sagesched replay: ") for line in lines] == [
        "1 of 2 runs: one", "two failed", "2 of 2 runs: two",
    ]  # fmt: skip


@given(
    low=st.floats(1e-4, 1e4), factor=st.floats(1.0, 1e6), log=st.booleans(), share=st.floats(0, 1)
)
def test_scales_stay_inside_and_keep_order(
    low: float, factor: float, log: bool, share: float
) -> None:
    scale = svg.across(low, low * factor, log=log)
    ticks = scale.ticks()
    assert len(ticks) <= 14
    assert all(svg.LEFT - 0.1 <= scale(tick) <= svg.WIDTH - svg.RIGHT + 0.1 for tick in ticks)
    middle = low + share * (low * factor - low)
    assert scale(low / 2) <= scale(middle) <= scale(low * factor * 2)


def test_names_do_not_cover_each_other() -> None:
    dots = [(200 + 6.0 * k, 150 + 3.0 * k, f"policy-{k}") for k in range(7)]
    places = labels.place(dots, left=58, right=506, top=14, bottom=256)
    boxes = [
        (x, y - 10, x + labels.CHARACTER * len(text), y + 3)
        for (x, y), (_, _, text) in zip(places, dots, strict=True)
    ]
    for k, one in enumerate(boxes):
        assert one[0] >= 58
        assert one[2] <= 506
        for other in boxes[:k]:
            apart = one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]  # fmt: skip  # noqa: E501
            assert apart


def test_tenants_are_told_apart_in_the_page_and_in_json(found: Session, page: str) -> None:
    assert "By tenant" in page
    assert "<td>acme</td>" in page
    for row in json.loads(session_json(found))["rows"]:
        tenants = {one["name"]: one for one in row["tenants"]}
        assert set(tenants) == {"(no tenant)", "acme", f"evil {NASTY}"}
        assert sum(one["n"] for one in tenants.values()) == row["n"]
        mean = sum(one["n"] * one["mean_ttlt_s"] for one in tenants.values()) / row["n"]
        assert mean == pytest.approx(row["mean_ttlt_s"])


def test_one_tenant_alone_is_not_named(found: Session) -> None:
    (first, *_) = found.runs
    assert first.details.tenants
    result = FakeHarness(found.plan.scenario.engine).run(
        FakeWorkload(50, tenants=("acme",)).requests(seed=1, rate_rps=10.0), policy="fcfs",
        step_time=None, predictions=None, settings=None, max_output_tokens=500,
    )  # fmt: skip
    assert details_of(result).tenants == ()
