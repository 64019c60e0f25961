"""Change sets: what one publication changed, what several did, and what is told when they are gone."""

from __future__ import annotations

import itertools

import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from hven.ingest._report import TableChangeSummary
from hven.ingest.sync import change_sets
from hven.ingest.sync._row_differences import (
    CHANGE_COLUMN,
    CHANGED_COLUMNS_COLUMN,
    RowDifferences,
    build_change_set_and_summary,
    match_rows_by_key,
)


def list_changes(rows):
    return sorted((row["id"], row[CHANGE_COLUMN], row[CHANGED_COLUMNS_COLUMN]) for row in rows.to_pylist())


tables = st.dictionaries(
    st.integers(0, 6), st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from([1.0, 2.0, None])), max_size=6
)


def table(state):
    schema = pa.schema([("id", pa.int32()), ("name", pa.string()), ("mag", pa.float64())])
    return pa.Table.from_pylist(
        [{"id": key, "name": name, "mag": mag} for key, (name, mag) in state.items()], schema=schema
    )


# a row that changes, is removed, comes back as another, and changes again: no list of columns is known
@example([{0: ("a", 1.0)}, {0: ("b", 1.0)}, {}, {0: ("a", 2.0)}, {0: ("b", 2.0)}])
@given(st.lists(tables, min_size=2, max_size=5))
def test_several_become_one(states):
    steps = []
    for old, new in itertools.pairwise(states):
        found = match_rows_by_key(table(old), table(new), ["id"])
        assert isinstance(found, RowDifferences)
        steps.append(build_change_set_and_summary(found, TableChangeSummary(table="t"), ["id"]))
    made = {
        row["id"]: (row[CHANGE_COLUMN], row[CHANGED_COLUMNS_COLUMN])
        for row in change_sets.join_change_sets(steps).to_pylist()
    }
    first, last = states[0], states[-1]
    for key in range(7):
        before, after = first.get(key), last.get(key)
        kind, columns = made.get(key, (None, []))
        if before is None or after is None:
            assert kind == ("added" if after is not None else "removed" if before is not None else None)
            continue
        other = {name for name, one, two in zip(("name", "mag"), before, after, strict=True) if one != two}
        assert kind == "changed" if other else kind in {None, "changed"}  # it may have changed and changed back
        assert columns is None or other <= set(columns)
