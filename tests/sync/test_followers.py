"""Tables made from others: computed for the keys that a change touches, published with it, equal to a full ingest of all."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files

EXAMPLES = 120 if os.environ.get("HVEN_PROOF") == "full" else 3

HEADERS = """
collection: obs
title: Headers and what is made from them
tables:
  headers:
    source: {kind: csv, files: headers.csv}
    primary: file
    sync: {}
    columns: {file: int32, exposure: int32, target: string, t: float64}
  titles:
    source: {kind: csv, files: names.csv}
    primary: target
    sync: {}
    columns: {target: string, title: string}
  exposures:
    source: {kind: query, adql: "SELECT exposure, MIN(target) AS target, COUNT(*) AS files, MAX(t) AS t FROM obs.headers WHERE t > 0 GROUP BY exposure"}
    primary: exposure
    columns: {exposure: int64, target: string, files: int64, t: float64}
  targets:
    source: {kind: query, adql: "SELECT e.target AS target, COUNT(*) AS n, MAX(n.title) AS title FROM obs.exposures AS e LEFT JOIN obs.titles AS n ON n.target = e.target GROUP BY e.target"}
    primary: target
    columns: {target: string, n: int64, title: string}
    where: target IS NOT NULL
  latest:
    source: {kind: query, adql: "SELECT TOP 3 exposure, t FROM obs.exposures ORDER BY t DESC, exposure"}
    primary: exposure
    columns: {exposure: int64, t: float64}
"""
ELSEWHERE = """
collection: elsewhere
title: Elsewhere
tables:
  pairs:
    source: {kind: query, adql: "SELECT h.file AS file, e.exposure AS exposure, e.files AS files FROM obs.headers h JOIN obs.exposures e ON h.exposure = e.exposure WHERE e.files > 1"}
    primary: [exposure, file]
    columns: {file: int64, exposure: int64, files: int64}
    max_rejects: 1
"""  # fmt: skip
TABLES = ("obs.headers", "obs.exposures", "obs.targets", "obs.latest", "elsewhere.pairs")


def open_header_site(home):
    open_site_with_uningested_files(home, ELSEWHERE).close()
    return open_site_with_uningested_files(
        home,
        HEADERS,
        {"headers.csv": "file,exposure,target,t\n1,1,a,1\n2,1,a,2\n", "names.csv": "target,title\na,Alpha\n"},
    )


def write(home, headers, names):
    place = home / "collections" / "obs"
    (place / "headers.csv").write_text(
        "file,exposure,target,t\n" + "".join(f"{n},{a},{b},{c}\n" for n, (a, b, c) in headers.items())
    )
    (place / "names.csv").write_text("target,title\n" + "".join(f"{a},{b}\n" for a, b in names.items()))


def rows(site, name):
    with query.run_query(f"SELECT * FROM {name}", OWNER_PRINCIPAL, site=site) as result:
        return sorted(str(row) for batch in result.iterate_batches() for row in batch.to_pylist())


BEGIN = {n: (n // 4, "abcdefgh"[n % 8], float(n)) for n in range(1, 200)}
NAMES = {"a": "Alpha", "b": "Beta"}


def test_only_keys_that_are_touched_are_computed(tmp_path):
    with open_header_site(tmp_path) as site:
        write(tmp_path, BEGIN, NAMES)
        ingest_collection(site, "obs")
        ingest_collection(site, "elsewhere")
        write(tmp_path, {**BEGIN, 40: (10, "z", 500.0), 300: (70, "a", 3.0), 301: (70, "a", 3.0)}, NAMES)
        report = sync_collection(site, "obs")
        how = {name: change.how for name, change in report.changes.items()}
        assert how["obs.exposures"] == "2 keys"
        assert how["obs.targets"] == "2 keys"  # of the exposures 10 and 70
        assert how["elsewhere.pairs"] == "2 keys"
        assert how["obs.latest"] == "everything"
        events = [
            (event.action, event.run)
            for name in ("obs", "elsewhere")
            for event in site.store.list_publication_events(name)[:1]
        ]
        assert events == [("publish", report.run), ("publish", report.run)]
        write(
            tmp_path, {**BEGIN, 40: (10, "z", 500.0), 300: (70, "a", 3.0), 301: (70, "a", 3.0)}, {**NAMES, "a": "Other"}
        )
        report = sync_collection(site, "obs")
        assert report.changes["obs.targets"].how == "1 key"
        assert report.changes["obs.exposures"].how == "nothing"
        assert "elsewhere.pairs" not in report.changes
        assert len(site.store.list_publication_events("elsewhere")) == 2


def test_tables_made_from_the_lists_of_tables_are_made_anew(tmp_path):
    text = (
        HEADERS
        + """  about:
    source: {kind: query, adql: "SELECT table_name, COUNT(*) AS n FROM tap_schema.columns, obs.titles GROUP BY table_name"}
    primary: table_name
    columns: {table_name: string, n: int64}
"""
    )
    files = {
        "headers.csv": "file,exposure,target,t\n1,1,a,1\n",
        "titles.csv": "",
        "names.csv": "target,title\na,Alpha\n",
    }
    with open_site_with_uningested_files(tmp_path, text, files) as site:
        ingest_collection(site, "obs")
        how = {name: change.how for name, change in sync_collection(site, "obs").changes.items()}
        assert (how["obs.about"], how["obs.exposures"]) == ("everything", "nothing")


headers = st.dictionaries(
    st.integers(1, 12),
    st.tuples(st.integers(1, 5), st.sampled_from(["a", "b", "c", ""]), st.sampled_from([-1.0, 1.0, 2.0, 3.0])),
    min_size=3,
    max_size=10,
).filter(lambda rows: any(t > 0 and target for _, target, t in rows.values()))
names = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["x", "y"]), min_size=1)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    homes = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    sites = [open_header_site(home) for home in homes]
    yield list(zip(sites, homes, strict=True))
    for site in sites:
        site.close()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(days=st.lists(st.tuples(headers, names), min_size=2, max_size=3))
def test_same_rows_as_an_ingest(pair, days):
    for number, (site, home) in enumerate(pair):
        write(home, BEGIN, NAMES)
        ingest_collection(site, "obs")
        if number or not site.store.list_publication_events("elsewhere"):
            ingest_collection(site, "elsewhere")
    for day in days:
        for number, (site, home) in enumerate(pair):
            write(home, *day)
            if number:
                ingest_collection(site, "obs")  # what is made from it elsewhere follows
            else:
                report = sync_collection(site, "obs", accept_changes=True)
                assert not [one for one in report.warnings if "could not be made again" in one]
        for name in TABLES:
            assert rows(pair[0][0], name) == rows(pair[1][0], name), name
