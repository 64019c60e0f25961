"""Rows against stored ones: by value, whatever the types, with and without digests."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hven.engines import _differing, differences
from hven.engines._matching import Wanted, pages

NAN = math.nan
KINDS = {
    "x": (pa.float64(), [None, 0.0, -0.0, NAN, 1.5, math.inf]),
    "s": (pa.string(), [None, "", "a", "Ä"]),
    "n": (pa.int32(), [None, 0, 7]),
    "t": (pa.timestamp("us"), [None, 0, 10**15]),
    "b": (pa.bool_(), [None, True, False]),
    "pair": (pa.list_(pa.float64(), 2), [None, [1.0, NAN], [1.0, None], [-0.0, 2.0], [0.0, 2.0]]),
    "list": (pa.list_(pa.int32()), [None, [], [1], [1, 2], [None]]),
    "words": (pa.list_(pa.string()), [None, [], ["a"], ["a", ""], ["b"]]),
    "complex": (pa.list_(pa.list_(pa.float64(), 2)), [None, [], [[1.0, 2.0]], [[1.0, 2.0], [NAN, 0.0]]]),
}
SCHEMA = pa.schema([("k", pa.string()), ("l", pa.int64()), *((name, kind) for name, (kind, _) in KINDS.items())])


def plain(value):
    """Make values comparable: NaN is null, -0.0 is 0.0."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return None if value != value else value + 0.0  # noqa: PLR0124  (NaN)
    return value


_row = st.fixed_dictionaries({name: st.sampled_from(values) for name, (_, values) in KINDS.items()})
_rows = st.dictionaries(st.tuples(st.sampled_from("aäb"), st.integers(0, 4)), _row, max_size=12).map(
    lambda found: pa.Table.from_pylist([{"k": key[0], "l": key[1], **row} for key, row in found.items()], schema=SCHEMA)
)


@pytest.mark.parametrize("many", [1, 10_000], ids=["digests", "values"])
@settings(max_examples=150, deadline=None)
@given(rows=_rows, stored=_rows, size=st.integers(1, 5), page=st.integers(1, 8))
def test_differences_are_those_of_plain_python(many, rows, stored, size, page):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_differing, "MANY", many)
        patch.setattr(_differing, "PAGE", page)
        found = differences(rows, stored.to_batches(max_chunksize=size), ["k", "l"])
    known = {(row["k"], row["l"]): row for row in stored.to_pylist()}
    wanted = [(row, known.get((row["k"], row["l"]))) for row in rows.to_pylist()]
    assert found.known.tolist() == [other is not None for _, other in wanted]
    for name in KINDS:
        unlike = [other is not None and plain(row[name]) != plain(other[name]) for row, other in wanted]
        assert found.columns[name].tolist() == unlike if any(unlike) else name not in found.columns
    assert found.changed.tolist() == [other is not None and plain([*row.values()]) != plain([*other.values()]) for row, other in wanted]


def test_columns_that_only_one_side_has_or_in_other_types():
    rows = pa.table({"k": [1, 2, 3], "x": [1.0, 2.5, None], "more": [None, "a", None]})
    stored = pa.table({"k": pa.array([1, 2, 3], pa.int64()), "x": pa.array([1, 2, None], pa.int32())})
    found = differences(rows, stored.to_batches(), ["k"])
    assert {name: flags.tolist() for name, flags in found.columns.items()} == {"x": [False, True, False], "more": [False, True, False]}
    words = pa.table({"k": pa.array([1, 2, 3], pa.int64()), "x": ["1.0", "no number", None], "more": ["z", "a", None]})
    assert differences(rows, words.to_batches(), ["k"]).columns["x"].tolist() == [True, True, False]


def test_keys_of_several_columns_are_found():
    rng = np.random.default_rng(1)
    keys = pa.table(
        {
            "a": rng.integers(0, 40, 3000),
            "b": [f"w{number}" for number in rng.integers(0, 50, 3000)],
            "c": rng.integers(0, 3, 3000) / 2 - 0.5,
        }
    )
    wanted = Wanted(keys.slice(0, 1000), ["a", "b", "c"])
    first = {}
    for number, row in enumerate(keys.slice(0, 1000).to_pylist()):
        first.setdefault(tuple(row.values()), number)
    assert wanted.repeated == 1000 - len(first)
    found = np.concatenate([wanted.find(page) for page in pages(keys.to_batches(max_chunksize=70), 200)])
    assert found.tolist() == [first.get(tuple(row.values()), -1) for row in keys.to_pylist()]
