"""What is kept is bounded by its bytes, whatever is asked for."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.engines._query_analysis.shape_parsing import parse_shape
from hven.model import LruCache, cache_results, literal, units
from hven.model._cache import MAX_ARGUMENT_LENGTH
from hven.model.errors import HvenError


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 150)), max_size=30))
def test_never_more_than_the_budget(asked: list[tuple[int, int]]) -> None:
    there: LruCache[int] = LruCache(200, 100)
    last: dict[int, int] = {}
    for key, size in asked:
        there.store(key, size, size)
        if size <= 100:
            last[key] = size
            assert there.find(key) == size
        assert there.total_bytes <= 200
    found = {key: value for key in last if (value := there.find(key)) is not None}
    assert sum(found.values()) == there.total_bytes
    assert found.items() <= last.items()


def test_what_was_asked_for_last_stays() -> None:
    there: LruCache[str] = LruCache(30)
    for name in "abc":
        there.store(name, name, 10)
    there.find("a")
    there.store("d", "d", 10)
    assert [name for name in "abcd" if there.find(name)] == ["a", "c", "d"]


def test_long_texts_are_not_kept() -> None:
    made: list[int] = []

    @cache_results(8)
    def size(text: str) -> int:
        made.append(len(text))
        return len(text)

    for text in ("a", "a" * MAX_ARGUMENT_LENGTH, "a" * (MAX_ARGUMENT_LENGTH + 1)):
        assert size(text) == size(text) == len(text)
    assert made == [1, MAX_ARGUMENT_LENGTH, MAX_ARGUMENT_LENGTH + 1, MAX_ARGUMENT_LENGTH + 1]


@pytest.mark.parametrize(
    "call",
    [
        literal.to_arrow_string_scalar,
        units.list_ucd_problems,
        units.parse_unit,
        parse_shape,
        lambda text: units.compute_unit_factor(text, "m"),
        lambda text: units.compute_unit_product(text, "m"),
    ],
)
def test_what_readers_write_is_not_kept_when_it_is_long(call: Callable[[str], object]) -> None:
    text = "".join(["circle 1 1 1"] * 100)
    before = sys.getrefcount(text)
    with contextlib.suppress(ValueError, HvenError):
        call(text)
    assert sys.getrefcount(text) == before
