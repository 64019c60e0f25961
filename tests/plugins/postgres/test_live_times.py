"""Times of a table in place that no calendar of readers has: infinite ones, and years before 1 and beyond 9999."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from hven import query
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files
from postgres_cluster import run_server

ODD = """CREATE TABLE odd (n int PRIMARY KEY, d date, t timestamp, z timestamptz);
INSERT INTO odd VALUES (1, '2020-01-01', '2020-01-01 12:00', '2020-01-01 12:00Z'), (2, 'infinity', 'infinity', 'infinity'),
  (3, '-infinity', '-infinity', '-infinity'), (4, NULL, NULL, NULL),
  (5, '12000-01-01', '12000-01-01 01:00', '12000-01-01 01:00Z'), (6, '0044-03-15 BC', '0044-03-15 12:00 BC', '0044-03-15 12:00Z BC');
CREATE INDEX ON odd (t); CREATE INDEX ON odd (z); ANALYZE odd"""
TEXT = """collection: ops
title: Times
tables:
  odd:
    columns:
      n: {type: int32}
      d: {type: timestamp}
      t: {type: timestamp}
      z: {type: timestamp}
      jd: {type: float64, unit: d}
    map: {jd: jd(t)}
    source: {kind: live, url: $OPS_DB, table: odd}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with run_server() as where, pytest.MonkeyPatch.context() as patch:
        with psycopg.connect(f"postgresql://{where}", autocommit=True) as connection:
            connection.execute(ODD)
        patch.setenv("OPS_DB", f"postgresql://{where}")
        with open_site_with_uningested_files(tmp_path_factory.mktemp("times"), TEXT) as opened:
            yield opened


def rows(site: Site, text: str) -> list[tuple[object, ...]]:
    with query.run_query(text, site=site) as result:
        return [tuple(row.values()) for row in result.read_table().to_pylist()]


@pytest.mark.parametrize("column", ["d", "t", "z"])
def test_infinite_times_are_null_in_every_place(site: Site, column: str) -> None:
    assert rows(site, f"SELECT n FROM ops.odd WHERE {column} IS NULL ORDER BY n") == [(2,), (3,), (4,)]
    assert rows(site, f"SELECT COUNT({column}) AS a, COUNT(*) AS b FROM ops.odd") == [(3, 6)]
    assert rows(site, f"SELECT n FROM ops.odd WHERE {column} > '2019-01-01' ORDER BY n") == [(1,), (5,)]
    assert rows(site, f"SELECT n FROM ops.odd WHERE {column} <= '2019-01-01' ORDER BY n") == [(6,)]
    assert rows(site, f"SELECT n FROM ops.odd WHERE NOT ({column} > '2019-01-01') ORDER BY n") == [(6,)]
    assert rows(site, f"SELECT n FROM ops.odd WHERE n < 5 ORDER BY {column} DESC, n") == [(1,), (2,), (3,), (4,)]
    assert rows(site, f"SELECT {column} FROM ops.odd WHERE n IN (2, 3)") == [(None,), (None,)]


def test_what_is_made_of_an_infinite_time_is_null(site: Site) -> None:
    assert rows(site, "SELECT n, jd FROM ops.odd WHERE n < 5 ORDER BY n") == [
        (1, 2458850.0),
        (2, None),
        (3, None),
        (4, None),
    ]


@pytest.mark.parametrize("narrow", ["WHERE n > 4", ""])
def test_far_years_are_shown_by_both_ways_of_reading(site: Site, narrow: str) -> None:
    """As the binary value that PostgreSQL has; what a year of five figures or before 1 means is the reader's."""
    with query.run_query(f"SELECT n, t FROM ops.odd {narrow}", site=site) as result:
        found = result.read_table()
    micro = dict(zip(found.column("n").to_pylist(), found.column("t").cast("int64").to_pylist(), strict=True))
    assert micro[5] == 316516208400 * 10**6
    assert micro[6] == -63517780800 * 10**6
