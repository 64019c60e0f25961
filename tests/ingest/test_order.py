"""Tables made from tables: order, circles, pinned inputs, followers in other collections - and never a half of it to be seen."""

from __future__ import annotations

import threading

import pytest

from hven import query
from hven.ingest.api.runs import find_stale_table_warnings, ingest_collection
from hven.model.errors import DescriptorError
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from process_runner import run_hven

HEADERS = """\
collection: raw
title: Headers of files
tables:
  targets:
    columns: {target: string, n: int64}
    source: {kind: query, adql: "SELECT target, SUM(n) AS n FROM raw.observations GROUP BY target"}
  observations:
    columns: {night: string, target: string, n: int64}
    source: {kind: query, adql: "WITH targets AS (SELECT night, target FROM raw.shown) SELECT night, target, COUNT(*) AS n FROM targets GROUP BY night, target"}
  shown: {view: SELECT * FROM raw.headers WHERE ok = 1}
  headers:
    columns: {file: string, night: string, target: string, ok: int16}
    source: {kind: csv, files: headers.csv}
"""
SUMMARY = """\
collection: summary
title: What was seen
tables:
  bright:
    columns: {target: string, n: int64}
    source: {kind: query, adql: "SELECT target, n FROM raw.targets WHERE n > 1"}
  seen:
    columns: {target: string}
    source: {kind: csv, files: names.csv}
  joint:
    columns: {target: string, n: int64}
    source: {kind: query, adql: "SELECT b.target, b.n FROM summary.bright AS b JOIN summary.seen AS s ON b.target = s.target"}
tests:
  - {query: SELECT COUNT(*) AS n FROM summary.bright WHERE n > 5, expect: {n: 0}}
"""
ROWS = "file,night,target,ok\na,n1,Mars,1\nb,n1,Mars,1\nc,n2,Venus,1\nd,n2,Venus,0\n"


def rows(site, adql):
    with query.run_query(adql, OWNER_PRINCIPAL, site=site) as result:
        return [row for batch in result.iterate_batches() for row in batch.to_pylist()]


@pytest.fixture
def site(tmp_path):
    with open_site_with_uningested_files(tmp_path, HEADERS, {"headers.csv": ROWS}) as opened:
        home = opened.settings.collections_directory / "summary"
        home.mkdir()
        (home / "summary.yaml").write_text(SUMMARY)
        (home / "names.csv").write_text("target\nMars\nVenus\n")
        opened.refresh_published_state()
        ingest_collection(opened, "raw")
        ingest_collection(opened, "summary")
        yield opened


def more(site, text):
    with (site.settings.collections_directory / "raw" / "headers.csv").open("a") as file:
        file.write(text)


def test_stages_of_one_collection_in_any_order(site):
    assert rows(site, "SELECT * FROM raw.targets ORDER BY target") == [
        {"target": "Mars", "n": 2},
        {"target": "Venus", "n": 1},
    ]
    held = site.store.read_published_records()[1]
    assert held["raw.targets"].provenance["inputs"] == {"raw.observations": held["raw.observations"].id}
    assert held["raw.observations"].provenance["inputs"] == {"raw.headers": held["raw.headers"].id}
    assert len({held[f"raw.{name}"].run for name in ("targets", "observations", "headers")}) == 1


def test_followers_elsewhere_are_made_anew_in_the_same_moment(site):
    names = site.store.read_published_records()[1]["summary.seen"].id
    more(site, "e,n3,Venus,1\n")
    wrong, over = [], threading.Event()

    def watch():
        while not over.is_set():
            held = site.store.read_published_records()[1]
            if held["summary.bright"].provenance["inputs"]["raw.targets"] != held["raw.targets"].id:
                wrong.append(held)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        report = ingest_collection(site, "raw")
    finally:
        over.set()
        watcher.join()
    assert not wrong
    assert rows(site, "SELECT * FROM summary.joint ORDER BY target") == [
        {"target": "Mars", "n": 2},
        {"target": "Venus", "n": 2},
    ]
    assert {name: table.published for name, table in report.followers.items()} == {
        "summary.bright": 2,
        "summary.joint": 2,
    }
    assert "summary.joint: 2 rows, made again from it" in report.format_text()
    held = site.store.read_published_records()[1]
    assert held["summary.seen"].id == names
    assert held["summary.joint"].provenance["inputs"] == {
        "summary.bright": held["summary.bright"].id,
        "summary.seen": names,
    }
    assert find_stale_table_warnings(held) == []


def test_a_follower_that_fails_stays_and_is_stale(site):
    more(site, "".join(f"x{n},n3,Mars,1\n" for n in range(9)))
    report = ingest_collection(site, "raw")
    assert report.published
    assert any(
        "summary.bright is made from this table, but could not be made again" in text and "tests" in text
        for text in report.warnings
    )
    assert rows(site, "SELECT n FROM raw.targets WHERE target = 'Mars'") == [{"n": 11}]
    assert rows(site, "SELECT n FROM summary.bright") == [{"n": 2}]
    [line] = find_stale_table_warnings(site.store.read_published_records()[1])
    assert line.startswith("summary.bright was made from a version of raw.targets that is older than ")
    (site.settings.directory / "hven.toml").write_text('name = "test"\n')
    told = run_hven("status", cwd=site.settings.directory).stdout
    assert "summary.bright was made from a version of raw.targets that is older than " in told


def test_a_sample_leaves_followers_alone(site):
    report = ingest_collection(site, "raw", sample_rows=1)
    assert not report.followers
    assert len(find_stale_table_warnings(site.store.read_published_records()[1])) == 1


def test_circles_are_refused_with_their_place(site):
    home = site.settings.collections_directory / "raw" / "raw.yaml"
    home.write_text(HEADERS.replace("FROM raw.observations GROUP BY target", "FROM summary.joint GROUP BY target"))
    with pytest.raises(DescriptorError) as caught:
        ingest_collection(site, "raw")
    [fault] = caught.value.faults
    assert fault.message == "tables depend on each other: raw.targets -> summary.joint -> summary.bright -> raw.targets"
    assert (fault.place.line, fault.place.column) == (6, 13)
    assert rows(site, "SELECT COUNT(*) AS n FROM raw.targets") == [{"n": 2}]
