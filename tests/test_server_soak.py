"""A short soak on a real server, and checks that see what is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.soak.checks import Check, Soak, checks
from bench.soak.leftovers import LEAK, RETRACTED, Leftovers
from bench.soak.memory import EARLY, LATE, LEAST_SAMPLES, growth
from bench.soak.plan import ABORT, ANSWER, HANG_UP, Ask
from bench.soak.run import Options, soak

from .serving import model_directory

LOADS = {"num_running_reqs": 0.0, "num_waiting_reqs": 0.0, "num_used_tokens": 0.0}
LEFT = Leftovers(True, LOADS, (True, 0.0), {"departures": 0.0}, {})
SUMS = "".join(
    f"TP{rank}] sagesched: order checksum 0000000a after {passes} passes\n"
    for passes in (32, 64)
    for rank in (0, 1)
)


def ask(kind: str, reason: str, produced: int = 5, *, ended: bool = True) -> Ask:
    return Ask(0, kind, "p", 5, status=200, produced=produced, reason=reason, ended=ended)


SERVED, ABORTED, LEFT_EARLY = ask(ANSWER, "stop"), ask(ABORT, "abort", 2), ask(HANG_UP, "", -1)
SOUND = Soak(
    [SERVED, ABORTED, LEFT_EARLY], 1.0, 2, LEFT, f"{RETRACTED}\n{RETRACTED}\n{SUMS}", True, {}
)


def failed(found: Soak) -> list[Check]:
    return [check for check in checks(found) if not check.holds]


@pytest.mark.parametrize(
    "wrong",
    [
        replace(SOUND, asks=[ask(ANSWER, "stop", 4), ABORTED, LEFT_EARLY]),
        replace(SOUND, asks=[ask(ANSWER, "abort"), ABORTED, LEFT_EARLY]),
        replace(SOUND, asks=[ask(ANSWER, "stop", ended=False), ABORTED, LEFT_EARLY]),
        replace(SOUND, asks=[SERVED, ask(ABORT, "stop"), LEFT_EARLY]),
        replace(SOUND, asks=[SERVED, ABORTED, ask(ABORT, "", ended=False), LEFT_EARLY]),
        replace(SOUND, asks=[SERVED, ABORTED, ask(HANG_UP, "stop")]),
        replace(SOUND, log=SUMS),
        replace(SOUND, log=f"{SOUND.log}\n{LEAK}"),
        replace(SOUND, alive=False),
        replace(SOUND, left=replace(LEFT, idle=False)),
        *(replace(SOUND, left=replace(LEFT, loads={**LOADS, name: 1.0})) for name in LOADS),
        replace(SOUND, left=replace(LEFT, flushed=(False, 0.0))),
        replace(SOUND, left=replace(LEFT, flushed=(True, 7.0))),
        replace(SOUND, left=replace(LEFT, tables={"departures": 1.0})),
        replace(SOUND, left=replace(LEFT, fallbacks={"rank": 1.0})),
        replace(SOUND, log=SOUND.log.replace("0a after 64", "0b after 64", 1)),
        replace(SOUND, log=SOUND.log.replace("after 64", "after 63")),
        replace(SOUND, growth={"scheduler_TP0": (1000, 1021)}),
        replace(SOUND, mixed=True),
    ],
)
def test_every_check_can_fail(wrong: Soak) -> None:
    assert failed(SOUND) == []
    assert len(failed(wrong)) == 1


def test_memory_may_grow_as_far_as_that_of_stock() -> None:
    stock = {"scheduler_TP0": (1000, 1030), "scheduler_TP1": (1000, 1000)}
    assert failed(replace(SOUND, growth={"scheduler_TP0": (900, 925)}, stock_growth=stock)) == []
    for wrong in ({"scheduler_TP0": (900, 928)}, {"scheduler_TP1": (900, 920)}):
        assert len(failed(replace(SOUND, growth=wrong, stock_growth=stock))) == 1


def test_growth_is_from_the_first_quarter_to_the_end() -> None:
    early, late = (sum(span) / 2 for span in (EARLY, LATE))
    before = [(0.1, 1)] * 9
    samples = before + [(early, 100)] * LEAST_SAMPLES + [(0.6, 900)] + [(late, 102)] * LEAST_SAMPLES
    assert growth({"a": samples, "b": samples[:-1]}) == {"a": (100, 102)}


@pytest.mark.server
def test_nothing_is_lost_and_nothing_left() -> None:
    options = Options(requests=300, at_once=64)
    assert failed(soak(model_directory(), options, quiet=True)) == []
