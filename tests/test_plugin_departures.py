"""An abort that comes while a request waits for its prediction is repeated, not lost."""

from __future__ import annotations

from types import SimpleNamespace

from sagesched.plugin.departures import Departures, repeat_aborts


def test_only_requests_aborted_while_they_waited_are_reported() -> None:
    departures = Departures()
    departures.begin(["a", "b", "c"])
    departures.abort("b", everything=False)
    departures.abort("nobody", everything=False)
    assert departures.end(["a", "b"]) == ["b"]
    departures.abort("c", everything=True)
    departures.begin(["late"])
    assert departures.end(["c", "late"]) == ["c"]
    assert departures.end(["a", "b", "c", "late"]) == []


def test_sglang_is_asked_again_although_it_thinks_it_has_done_so() -> None:
    known = SimpleNamespace(abort_sent=True)
    asked: list[tuple[str, bool]] = []
    manager = SimpleNamespace(
        rid_to_state={"a": known},
        abort_request=lambda rid: asked.append((rid, known.abort_sent)),
    )
    repeat_aborts(manager, ["a", "gone"])
    assert asked == [("a", False)]
