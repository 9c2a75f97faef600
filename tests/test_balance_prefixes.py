"""The approximate prefix tree, and what choosers make of it: against a plain model, and bounded."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from sagesched.balance import Query, ReplicaLoad, make_chooser
from sagesched.balance.prefix_table import TOKENS_PER_BLOCK, PrefixTable, block_count, blocks_of

IDLE = ReplicaLoad(0, 0, 0, 0, 30_000, 64, sequence=1)


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Whole blocks that two prompts have in common at their start."""
    same = 0
    for mine, its in zip(one, other, strict=False):
        if mine != its:
            break
        same += 1
    return same // TOKENS_PER_BLOCK


prompts = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(1, 5)).map(
        lambda part: [part[0]] * 40 + [part[1]] * (20 * part[2])
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(prompts, st.lists(st.integers(0, 2), min_size=12, max_size=12))
def test_the_table_knows_the_longest_common_prefix(
    inserted: list[list[int]], where: list[int]
) -> None:
    table = PrefixTable(10_000)
    for _ in range(3):
        table.add()
    for prompt, index in zip(inserted, where, strict=False):
        table.insert(index, blocks_of(prompt))
    for asked in inserted:
        expected = [
            max(
                (
                    common(asked, prompt)
                    for prompt, index in zip(inserted, where, strict=False)
                    if index == replica
                ),
                default=0,
            )
            for replica in range(3)
        ]
        found = table.matches(blocks_of(asked))
        assert [found.get(replica, 0) for replica in range(3)] == expected


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 99)), max_size=60))
def test_the_table_is_bounded_and_forgets_the_oldest(sent: list[tuple[int, int]]) -> None:
    table = PrefixTable(6)
    table.add()
    table.add()
    for index, number in sent:
        blocks = blocks_of([number] * (3 * TOKENS_PER_BLOCK))
        table.insert(index, blocks)
        assert table.matches(blocks)[index] == 3
        assert len(table) <= 2 * 6
    table.forget(0)
    table.forget(1)
    assert len(table) == 0


def test_a_small_cache_forgets_what_a_large_one_keeps() -> None:
    table = PrefixTable(1000)
    for _ in range(2):
        table.add()
    table.limit(0, 4 * TOKENS_PER_BLOCK)
    first, second = ([n] * (3 * TOKENS_PER_BLOCK) for n in (1, 2))
    for index in range(2):
        table.insert(index, blocks_of(first))
        table.insert(index, blocks_of(second))
    # Of the older prompt the deepest blocks went first, as leaves go first in a radix tree.
    assert table.matches(blocks_of(first)) == {0: 1, 1: 3}
    assert table.matches(blocks_of(second)) == {0: 3, 1: 3}


def test_bytes_and_tokens_of_any_kind() -> None:
    ids = list(range(100))
    assert blocks_of(ids) == blocks_of(tuple(ids)) == blocks_of(array("q", ids))
    assert len(blocks_of(ids)) == 3
    assert block_count(ids) == 100 / TOKENS_PER_BLOCK
    assert len(blocks_of(b"x" * 300)) == 2  # 128 bytes each
    assert blocks_of(b"") == []


def test_cache_aware_leaves_the_cached_replica_when_it_is_far_ahead() -> None:
    chooser = make_chooser("cache_aware", 2, imbalance=4)
    prompt = tuple(range(400))
    for number in range(5):
        query = Query(f"r{number}", 400, prompt)
        index = chooser.choose(query)
        chooser.sent(index, query)
        assert index == 0
    assert chooser.choose(Query("more", 400, prompt)) == 1


def test_a_dead_replicas_cache_is_forgotten() -> None:
    chooser = make_chooser("sal", 2)
    for index in range(2):
        chooser.observe(index, IDLE)
    query = Query("a", 20_000, tuple(range(20_000)))
    chooser.sent(1, query)
    chooser.finished("a")
    assert chooser.choose(query) == 1
    chooser.set_health(1, False)
    chooser.set_health(1, True)
    assert chooser.choose(query) == 0


def test_memory_is_bounded_for_callers_that_never_say_finished() -> None:
    """What was sent is dropped two reports later, and the table has its limit."""
    chooser = make_chooser("sal", 2, answers=False, tree_blocks=50)
    for number in range(2000):
        query = Query(f"r{number}", 640, [number] * 640)
        index = chooser.choose(query)
        chooser.sent(index, query)
        if number % 10 == 0:
            for replica in range(2):
                report = ReplicaLoad(3, 0, 0, 3000, 30_000, 64, sequence=number + 1)
                chooser.observe(replica, report)
    assert len(chooser._books) <= 20  # type: ignore[attr-defined]
    assert len(chooser._table) <= 100  # type: ignore[attr-defined]
