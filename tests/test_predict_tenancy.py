"""Fairness among tenants: places in the history, and weight in what is shared."""

from __future__ import annotations

from collections import Counter, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagesched.predict.numbers import UNKNOWN, Numbers
from sagesched.predict.tenancy import MOST_TENANTS, Say, Slots


@given(st.integers(1, 9), st.lists(st.sampled_from("abcd"), max_size=80))
def test_the_oldest_goes_unless_somebody_holds_more_than_half(
    capacity: int, tenants: list[str]
) -> None:
    slots = Slots(capacity)
    held: deque[tuple[int, str]] = deque()  # oldest first
    for tenant in tenants:
        expected = None
        if len(held) == capacity:
            counts = Counter(name for _, name in held)
            greedy = [name for name, count in counts.items() if count > capacity // 2]
            of_greedy = [at for at in held if at[1] in greedy]
            expected = of_greedy[:1] or [held[0]]
        slot = slots.take(tenant)
        if expected is not None:
            gone = next(at for at in held if at[0] == slot)
            assert gone == expected[0]
            held.remove(gone)
        held.append((slot, tenant))
        assert len({at[0] for at in held}) == len(held) <= capacity
        for name in "abcd":
            assert list(slots.of(name)) == [at for at, of in held if of == name]


def test_a_flood_leaves_others_their_places() -> None:
    slots = Slots(100)
    own = {slots.take("small") for _ in range(30)}
    for _ in range(100_000):
        slots.take("flood")
    assert set(slots.of("small")) == own
    assert len(slots.of("flood")) == 70
    assert len(slots._by_age) == 100
    for _ in range(50):
        slots.take("small")
    assert [len(slots.of(name)) for name in ("flood", "small")] == [50, 50]


def test_a_flood_has_the_say_of_all_others() -> None:
    say, total = Say(1000), Counter[str]()
    for n in range(20_000):
        tenant = "flood" if n % 8 else "small"
        weight = say.of(tenant)
        assert weight == 1.0 or tenant == "flood"
        if n > 5000:
            total[tenant] += weight  # type: ignore[assignment]
    assert total["small"] == pytest.approx(total["flood"], rel=0.1)


def test_alone_without_a_name_or_all_equal_everybody_counts_once() -> None:
    for tenants in ("a", "abc"):
        say = Say(100)
        assert all(say.of(tenants[n % len(tenants)]) > 0.9 for n in range(500))
    say = Say(100)
    assert {say.of("" if n % 50 else "named") for n in range(900)} == {1.0}


def test_invented_tenants_take_no_memory() -> None:
    say, slots = Say(1000), Slots(10)
    for n in range(3 * MOST_TENANTS):
        assert 0.0 < say.of(str(n)) <= 1.0
        slots.take(str(n))
    assert len(say._counts) <= MOST_TENANTS + 1
    assert len(slots._of) == 10


def test_numbers_are_reused_when_nobody_bears_the_name() -> None:
    numbers = Numbers[str]()
    assert numbers.of("a") == UNKNOWN
    assert [numbers.hold(name) for name in ("a", "b", "a")] == [0, 1, 0]
    numbers.drop(0)
    assert numbers.of("a") == 0
    numbers.drop(0)
    assert numbers.of("a") == UNKNOWN
    assert len(numbers) == 1
    assert numbers.hold("c") == 0
    assert [numbers.name(0), numbers.name(1)] == ["c", "b"]
