"""Change sets: what one publication changed, what several did, and what is told when they are gone."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.ingest._report import TableChangeSummary
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import change_sets, sync_collection
from hven.ingest.sync._row_differences import (
    CHANGE_COLUMN,
    CHANGED_COLUMNS_COLUMN,
    RowDifferences,
    build_change_set,
    match_rows_by_key,
)
from hven.model.errors import NotFoundError
from hven.testing.site import open_site_with_descriptor

STARS = """
collection: stars
title: Stars
tables:
  main:
    source: {kind: csv, files: "a.csv"}
    primary: id
    columns: {id: int32, name: string, mag: float64}
"""


def list_changes(rows):
    return sorted((row["id"], row[CHANGE_COLUMN], row[CHANGED_COLUMNS_COLUMN]) for row in rows.to_pylist())


def test_each_publication_leaves_one(tmp_path):
    with open_site_with_descriptor(
        tmp_path, STARS, {"a.csv": "id,name,mag\n1,a,1\n2,b,2\n3,c,3\n"}, keep_snapshots=2
    ) as site:
        path = tmp_path / "collections" / "stars" / "a.csv"
        ingest_collection(site, "stars")
        first = site.store.read_published_snapshot_ids()[1]["stars.main"]
        ids = [first]
        for text in ("1,a,9\n2,b,2\n3,c,3\n4,d,4", "1,z,9\n3,c,3\n4,d,5", "1,z,1\n2,b,2\n3,c,3\n5,e,5"):
            path.write_text(f"id,name,mag\n{text}\n")
            sync_collection(site, "stars")
            ids.append(site.store.read_published_snapshot_ids()[1]["stars.main"])
        assert [one.after for one in change_sets.list_change_sets(site, "stars.main")] == ids[:0:-1]
        assert list_changes(change_sets.find_changes_between(site, "stars.main", ids[2])) == [
            (1, "changed", ["mag"]),
            (2, "added", []),
            (4, "removed", []),
            (5, "added", []),
        ]
        # the snapshots are pruned, the change sets lead back all the same; row 2 went and came back
        whole = change_sets.find_changes_between(site, "stars.main", first)
        assert list_changes(whole.filter(pa.compute.not_equal(whole["id"], 2))) == [
            (1, "changed", ["mag", "name"]),
            (5, "added", []),
        ]
        assert whole.filter(pa.compute.equal(whole["id"], 2)).to_pylist() == [
            {"id": 2, CHANGE_COLUMN: "changed", CHANGED_COLUMNS_COLUMN: None}
        ]
        assert change_sets.find_changes_between(site, "stars.main", ids[3]).num_rows == 0
        site.store.roll_back("stars")
        assert list_changes(change_sets.find_changes_between(site, "stars.main", ids[3])) == [
            (1, "changed", ["mag"]),
            (2, "removed", []),
            (4, "added", []),
            (5, "removed", []),
        ]
        with pytest.raises(NotFoundError, match=r"the changes of stars\.main since gone are no longer kept"):
            change_sets.find_changes_between(site, "stars.main", "gone")


tables = st.dictionaries(
    st.integers(0, 6), st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from([1.0, 2.0, None])), max_size=6
)


def table(state):
    schema = pa.schema([("id", pa.int32()), ("name", pa.string()), ("mag", pa.float64())])
    return pa.Table.from_pylist(
        [{"id": key, "name": name, "mag": mag} for key, (name, mag) in state.items()], schema=schema
    )


@given(st.lists(tables, min_size=2, max_size=5))
def test_several_become_one(states):
    steps = []
    for old, new in itertools.pairwise(states):
        found = match_rows_by_key(table(old), table(new), ["id"])
        assert isinstance(found, RowDifferences)
        steps.append(build_change_set(found, TableChangeSummary(table="t"), ["id"]))
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
