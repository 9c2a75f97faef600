"""The report as one HTML file: no network, no scripts but a few lines, light or dark as the reader.

Every string that comes from a trace, a file name or an error is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from sagesched.replay.output import settings_of
from sagesched.replay.report import charts, svg, tables, trust, words
from sagesched.replay.report.view import LoadView, load_views
from sagesched.replay.session import Session
from sagesched.replay.table import SPREAD, notes

FOLDER = Path(__file__).parent
HIDDEN_SETTINGS = ("failed", "interrupted", "workload_source", "workload_is_file")

TIMES = """<p class="quiet"><b>TTLT</b>, time to last token: from the arrival of a request to the
end of its answer. <b>TTFT</b>, time to first token: to the answer's beginning. <b>P99</b>: 99% of
the requests are faster. <b>Load</b>: arrivals as a fraction of what fcfs can finish.</p>"""


def report_html(session: Session) -> str:
    """The report of a session in which at least one run ended well."""
    views = load_views(session)
    plan = session.plan
    name = words.focus(views, plan.baseline, plan.yardsticks)
    title = words.headline(views, name)
    body = [
        '<p class="eyebrow">sagesched replay: SGLang\'s scheduler in virtual time</p>',
        f"<h1>{escape(title)}</h1>",
        f"<p>{_subject(session)}</p>",
        _warnings(session),
        _bar(views),
        *(_load(view, name, position) for position, view in enumerate(views)),
        "<h2>How far to trust this</h2>",
        _list(trust.paragraphs(session, views)),
        "<h2>Settings</h2>",
        _settings(session),
    ]
    return _page(title, "".join(body), len(views))


def _page(title: str, body: str, loads: int) -> str:
    """The loads are switched by radio buttons, so without any script."""
    picks = "".join(
        f'<input class="pick" type="radio" name="load" id="pick{k}"'
        f"{' checked' if k == loads - 1 else ''}>"
        for k in range(loads)
    )
    rules = "".join(
        f"#pick{k}:checked ~ .load{k}{{display:block}}"
        f"#pick{k}:checked ~ .bar label[for=pick{k}]"
        "{background:var(--accent);color:var(--paper)}"
        f"#pick{k}:focus-visible ~ .bar label[for=pick{k}]{{outline:2px solid var(--ink)}}"
        for k in range(loads)
    )
    style = (FOLDER / "page.css").read_text(encoding="utf-8")
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}{rules}</style></head>"
        f"<body>{picks}{body}<script>{script}</script></body></html>\n"
    )


def _subject(session: Session) -> str:
    plan = session.plan
    engine = plan.scenario.engine
    return (
        f"<b>{escape(plan.workload_name)}</b>, {session.offered:,} requests, on "
        f"<b>{escape(plan.step_time_name)}</b> with {engine.pool_tokens:,} KV tokens and at most "
        f"{engine.max_running} running. fcfs can finish "
        f"{session.saturation_rps:.3g} requests/s (load 1)."
    )


def _warnings(session: Session) -> str:
    found = [*notes(session), *session.failures]
    return f'<div class="warning">{_list(map(escape, found))}</div>' if found else ""


def _bar(views: Sequence[LoadView]) -> str:
    """The switches: which load, which policies."""
    tabs = "".join(
        f'<label class="tab" for="pick{k}">{view.load:g}</label>' for k, view in enumerate(views)
    )
    everyone = {view.name: (view, load) for load in views for view in load.policies}
    chips = "".join(
        f'<button class="chip" type="button" aria-pressed="true" data-policy="{escape(name)}">'
        f'<i class="key {charts.colour(view, load.baseline)}"></i>{escape(name)}</button>'
        for name, (view, load) in everyone.items()
    )
    return (
        f'<div class="bar"><div><span>Load</span>{tabs}</div>'
        f"<div><span>Policies (click to hide)</span>{chips}</div></div>"
    )


def _load(load: LoadView, name: str, position: int) -> str:
    several = any(len(view.summary.seeds) > 1 for view in load.policies)
    spread = f'<p class="quiet">{SPREAD}</p>' if several else ""
    parts = [
        f"<h2>At load {load.load:g}: {load.rate_rps:.3g} requests/s</h2>",
        _list(words.load_sentences(load, name)),
        "<h3>The choice: the mean against the slowest</h3>",
        '<div class="grid2">',
        _figure("Every policy, relative to " + load.baseline, charts.front(load),
                "Further left: answers complete sooner on average. Lower: less waiting for the "
                "slowest. Small dots are single samples."),
        _figure("Requests waiting", charts.timeline(load, "waiting", svg.HEIGHT), "First sample"),
        "</div>",
        "<h3>All numbers</h3>", TIMES, tables.numbers(load), spread,
        "<h3>How long requests take</h3>", '<div class="grid2">',
        _figure("Time to last token", charts.distribution(load, "ttlt"), "Further left is better"),
        _figure("The slowest, to last token", charts.tail(load, "ttlt"), "Lower is better"),
        _figure("Time to first token", charts.distribution(load, "ttft"), "Further left is better"),
        _figure("The slowest, to first token", charts.tail(load, "ttft"), "Lower is better"),
        "</div>",
        _winners(load, name),
        "<h3>The engine over time</h3>", '<div class="grid2">',
        _figure("Requests running", charts.timeline(load, "running"), "First sample"),
        _figure("KV pool in use", charts.timeline(load, "kv_use"), "First sample"),
        "</div>",
    ]  # fmt: skip
    return f'<section class="load load{position}">{"".join(parts)}</section>'


def _winners(load: LoadView, focus: str) -> str:
    parts = [
        tables.breakdown(load, "outputs", "By length of the answer", "output tokens", focus),
        tables.breakdown(load, "prompts", "By length of the prompt", "prompt tokens", focus),
        tables.breakdown(load, "classes", "By class", "class", focus),
        tables.breakdown(load, "tenants", "By tenant", "tenant", focus),
    ]
    if not any(parts):
        return ""
    return (
        "<h3>Who wins, who pays</h3><p class='quiet'>Mean time to last token of each group, times "
        f"{escape(load.baseline)}'s. Green: sooner; orange: later. Hover for seconds.</p>"
        + "".join(parts)
    )


def _figure(title: str, chart: str, hint: str) -> str:
    caption = f"{escape(title)}<small>{escape(hint)}</small>"
    return f"<figure><figcaption>{caption}</figcaption>{chart}</figure>"


def _settings(session: Session) -> str:
    rows = "".join(
        f"<tr><th>{escape(name.replace('_', ' '))}</th><td>{escape(_plain(value))}</td></tr>"
        for name, value in settings_of(session).items()
        if name not in HIDDEN_SETTINGS and value not in (None, "", {}, [])
    )
    return f'<table class="settings">{rows}</table>'


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _list(items: Any) -> str:
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"
