"""All that one run of ``bench index`` found, and the bars it is held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sagesched.bench.cases import MAIN, WIDE, CaseRow, OtherRow
from sagesched.bench.curve import CurveRow, SolverRow
from sagesched.bench.floor import Floor
from sagesched.bench.rank import RankRow, RefreshRow


@dataclass(frozen=True)
class Bar:
    """One line of what the kernel is to reach; ``met`` is None where this run did not time it."""

    what: str
    bar: str
    measured: str = "not timed"
    met: bool | None = None


@dataclass
class Result:
    """Rows of every part; a part that was left out is empty."""

    about: dict[str, str]
    cases: list[CaseRow] = field(default_factory=list)
    others: list[OtherRow] = field(default_factory=list)
    floors: list[Floor] = field(default_factory=list)
    curve: list[CurveRow] = field(default_factory=list)
    solver: list[SolverRow] | None = None
    rank: list[RankRow] = field(default_factory=list)
    refresh: list[RefreshRow] = field(default_factory=list)

    def bars(self) -> list[Bar]:
        return [*self._kernel_bars(), *self._curve_bars(), *self._rank_bars()]

    def _main(self, shape: tuple[int, int], layout: str, level: str = "") -> CaseRow | None:
        rows = [
            row
            for row in self.cases
            if (row.n, row.m) == shape
            and (row.dtype, row.layout, row.threads) == ("float32", layout, 1)
            and level in ("", row.level)
        ]
        return min(rows, key=lambda row: row.sample.median, default=None)

    def _kernel_bars(self) -> list[Bar]:
        columns, rows = self._main(MAIN, "column-major"), self._main(MAIN, "row-major")
        scalar, wide = self._main(MAIN, "column-major", "scalar"), self._main(WIDE, "column-major")
        size = "{} x {}, float32".format(*MAIN)
        by_level = scalar.sample.median / columns.sample.median if columns and scalar else None
        found = [
            _ratio(
                f"{size}, column-major: NumPy / ours",
                80,
                columns.speedup_vs_numpy if columns else None,
            ),
            _ratio(f"{size}, column-major: scalar / best level", 5, by_level),
            _ratio(f"{size}, row-major: NumPy / ours", 25, rows.speedup_vs_numpy if rows else None),
        ]
        share = wide.fraction_of_read_bandwidth if wide else None
        what = "{} x {}, column-major: share of the floor's bandwidth at 4 MB".format(*WIDE)
        if share is None:
            return [*found, Bar(what, ">= 40 %")]
        return [*found, Bar(what, ">= 40 %", f"{share:.0%}", share >= 0.4)]

    def _curve_bars(self) -> list[Bar]:
        by_bins = {row.m: row for row in self.curve}
        at_512 = by_bins.get(512)
        found = [
            _ratio("curve, 512 bins: naive loop / ours", 200, at_512.speedup if at_512 else None)
        ]
        what = "curve: cost of 1,024 bins over that of 128 (8 = linear)"
        if not {128, 1024} <= by_bins.keys():
            return [*found, Bar(what, "<= 10")]
        grows = by_bins[1024].us_in_batch / by_bins[128].us_in_batch
        return [*found, Bar(what, "<= 10", f"{grows:.1f}", grows <= 10)]

    def _rank_bars(self) -> list[Bar]:
        by_size = {row.waiting: row for row in self.rank}
        small, large = by_size.get(1_000), by_size.get(100_000)
        found = [Bar("rank engine: a step at 1,000 waiting", "< 60 us")]
        if small:
            us = small.us_per_step
            found = [Bar(found[0].what, found[0].bar, f"{us:.0f} us", us < 60)]
        what = "rank engine: 100,000 waiting over 1,000"
        ratio = large.us_per_step / small.us_per_step if small and large else None
        measured = "not timed" if ratio is None else f"{ratio:.1f}"
        found.append(Bar(what, "<= 3", measured, None if ratio is None else ratio <= 3))
        for count in (10_000, 100_000):
            row = by_size.get(count)
            name = f"rank engine, {count:,} waiting: list.sort / ours"
            alone = row.sort_by_key_us / row.us_per_step if row else None
            found.append(
                _ratio(f"{name}, by priority, key, arrival", 10, row.speedup if row else None)
            )
            found.append(_ratio(f"{name}, by key alone", 10, alone))
        return found


def _ratio(what: str, bar: float, measured: float | None) -> Bar:
    if measured is None:
        return Bar(what, f">= {bar:g}")
    return Bar(what, f">= {bar:g}", f"{measured:.1f}", measured >= bar)


def as_json(result: Result) -> dict[str, object]:
    """The contract's keys first, in ``cases`` and ``rank_engine``; others behind them."""
    return {
        "about": result.about,
        "cases": [
            {
                "n": row.n,
                "m": row.m,
                "dtype": row.dtype,
                "level": row.level,
                "layout": row.layout,
                "threads": row.threads,
                "ns_per_request": row.ns_per_request,
                "speedup_vs_numpy": row.speedup_vs_numpy,
                "fraction_of_read_bandwidth": row.fraction_of_read_bandwidth,
                "quartiles_ns_per_request": [row.sample.low / row.n, row.sample.high / row.n],
                "numpy_ns_per_request": row.numpy_ns / row.n,
                "numpy_way": row.numpy_way,
                "sum_ns_per_request": None if row.floor_ns is None else row.floor_ns / row.n,
            }
            for row in result.cases
        ],
        "rank_engine": [
            {
                "waiting": row.waiting,
                "changed": row.changed,
                "k": row.k,
                "us_per_step": row.us_per_step,
                "speedup_vs_python_sort": row.speedup,
                "speedup_vs_python_sort_by_key_alone": row.sort_by_key_us / row.us_per_step,
            }
            for row in result.rank
        ],
        "others": _plain(result.others),
        "floor_gb_per_s": _plain(result.floors),
        "curve": _plain(result.curve),
        "markovianbandit": None if result.solver is None else _plain(result.solver),
        "refresh": _plain(result.refresh),
        "bars": _plain(result.bars()),
    }


def _plain(rows: Sequence[object]) -> list[dict[str, object]]:
    return [dict(vars(row)) for row in rows]
