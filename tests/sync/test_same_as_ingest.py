"""The sentence from which everything follows: after a sync the table is what an ingest of the source as it is now would have made."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.model.errors import DataError
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files

EXAMPLES = 150 if os.environ.get("HVEN_PROOF") == "full" else 3

# what a table may look like: of one source row come one, several or no rows; rows are left out, rejected, doubled
TABLES = {
    "plain": """
    source: {kind: csv, files: "*.csv"}
    primary: id
    sync: {}
    columns: {id: {type: int32, required: true}, kind: string, mag: {type: float64, maximum: 90}}
    where: kind <> 'skip' OR kind IS NULL
""",
    "granules": """
    source: {kind: csv, files: "*.csv"}
    primary: uid
    sync: {}
    columns: {uid: {type: string, required: true}, id: int32, mag: {type: float64, maximum: 90}, gid: string}
    granules:
      - {gid: a, set: {gid: a}, text: {uid: "{id}_a"}}
      - {gid: b, if: kind = 'b', set: {gid: b}, text: {uid: "{id}_b"}}
""",
    "only_one": """
    source: {kind: csv, files: "*.csv"}
    primary: id
    sync: {}
    columns: {id: {type: int32, required: true}, kind: string, mag: float64}
    rules: {one: {check: unique, columns: id}}
""",
    "several": """
    source: [{kind: csv, files: "a.csv"}, {kind: csv, files: "b*.csv"}]
    primary: id
    sync: {}
    columns: {id: {type: int32, required: true}, kind: string, mag: {type: float64, maximum: 90}, file: string}
    map: {file: file.name}
""",
    "elements": """
    source: {kind: json, files: "*.jsonl"}
    primary: uid
    sync: {}
    for_each: [kinds, mags]
    where: kinds <> 'skip'
    columns: {uid: {type: string, required: true}, id: int32, mag: {type: float64, maximum: 90}, kind: string}
    text: {uid: "{id}_{each.index}"}
    map: {mag: mags, kind: kinds}
""",
    "grouped": """
    source: {kind: csv, files: "*.csv"}
    primary: kind
    sync: {}
    columns: {kind: string, n: int64, top: float64}
    group_by: kind
    map: {n: COUNT(*), top: MAX(mag)}
""",
    "keyless": """
    source: {kind: csv, files: "*.csv"}
    sync: {}
    columns: {id: int32, kind: string, mag: float64}
""",
}

row = st.tuples(
    st.integers(1, 12),
    st.sampled_from(["a", "b", "skip", ""]),
    st.sampled_from(["1", "2.5", "", "99", "nan"]),
)
source = st.fixed_dictionaries(
    {"a.csv": st.lists(row, min_size=1, max_size=8, unique_by=lambda one: one[0])},
    optional={name: st.lists(row, max_size=3) | st.just([(3, "a", "1")]) for name in ("b1.csv", "b2.csv", "b3.csv")},
)


@pytest.fixture(scope="module", params=["duckdb"])
def pair(tmp_path_factory, request):
    """Two sites with the same tables."""
    files = {"a.csv": "id,kind,mag\n1,a,1\n", "b.csv": "id,kind,mag\n99,a,1\n", "a.jsonl": ALWAYS}
    homes = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    sites = []
    for home in homes:
        for name, body in TABLES.items():
            sites.append(
                open_site_with_uningested_files(
                    home, f"collection: {name}\ntitle: C\ntables:\n  main:{body}    max_rejects: 1\n", files
                )
            )
            if name != list(TABLES)[-1]:
                sites.pop().close()
    yield [(site, home) for site, home in zip(sites, homes, strict=True)]
    for site in sites:
        site.close()


ELEMENTS = {"1": [1.0], "2.5": [2.5, None, 3.5], "": [], "99": [1.0, 99.0, 2.0], "nan": [None]}  # of one source row
ALWAYS = '{"id": 50, "kinds": ["x", "y"], "mags": [1.5, 2.5]}\n'


def lines(rows):
    """Write rows whose elements become rows of their own; one is always there, so that all columns have a type."""
    return ALWAYS + "".join(
        json.dumps({"id": a, "kinds": [b, "skip", "c"][: len(ELEMENTS[c])], "mags": ELEMENTS[c]}) + "\n"
        for a, b, c in rows
    )


def write(home, name, tables):
    """Write the files; those that are as they were are left alone, or get another name."""
    place = home / "collections" / name
    if name == "elements":  # a file of its own for each table would have that one row twice
        wanted = {"a.jsonl": lines([row for rows in tables.values() for row in rows])}
    else:
        wanted = {
            file: "id,kind,mag\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows) for file, rows in tables.items()
        }
        if not any(file.startswith("b") for file in wanted):
            wanted["b0.csv"] = "id,kind,mag\n"
    there = {path.name: path.read_text() for path in place.glob("*.jsonl" if name == "elements" else "*.csv")}
    for file in there.keys() - wanted.keys():
        heir = next((new for new, text in wanted.items() if new not in there and text == there[file]), None)
        if heir is None:
            (place / file).unlink()
        else:
            (place / file).rename(place / heir)
            there[heir] = wanted[heir]
    for file, text in wanted.items():
        if there.get(file) != text:
            (place / file).write_text(text)


def rows(site, name):
    try:
        with query.run_query(f"SELECT * FROM {name}.main", OWNER_PRINCIPAL, site=site) as result:
            return sorted(str(row) for batch in result.iterate_batches() for row in batch.to_pylist())
    except Exception as error:  # noqa: BLE001  (nothing is published yet)
        return type(error).__name__


@pytest.mark.parametrize("name", TABLES)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(states=st.lists(source, min_size=2, max_size=3))
def test_same_rows(pair, name, states):
    (one, here), (two, there) = pair
    for state in states:
        ended = []
        for home, run, options in ((here, sync_collection, {"accept_changes": True}), (there, ingest_collection, {})):
            write(home, name, state)
            try:
                run(one if home is here else two, name, **options)
                ended.append("")
            except DataError as error:
                ended.append(error.message)
        assert ended[0] == ended[1]
        assert rows(one, name) == rows(two, name)
