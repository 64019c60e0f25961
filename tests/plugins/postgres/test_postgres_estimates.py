"""What PostgreSQL expects of a query is told before it runs."""

from __future__ import annotations

import pyarrow as pa
import pytest
from engine_tables import CIRCLES, STARS, build_sky, plan_query, stage_table

from hven.engines import MemoryRelation
from hven.model.table import PartitionScheme
from hven.plugins.postgres import engine as postgres
from postgres_cluster import run_server

YEARS = STARS.copy_with(name="years", partition=PartitionScheme(by="time", column="seen", every="5 years"))


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with run_server() as url:
        opened = postgres.open(
            tmp_path_factory.mktemp("snapshots"),
            memory=256 * 1024**2,
            threads=1,
            url=f"postgresql://{url}",
            position="healpix",
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def relations(engine):
    rows = build_sky(13_000)
    return {
        "sky.stars": stage_table(engine, STARS, rows),
        "sky.years": stage_table(engine, YEARS, rows),
        CIRCLES.qualified_name: MemoryRelation(
            pa.table({item.name: pa.nulls(2, item.type) for item in CIRCLES.arrow_schema})
        ),
    }


def estimate_rows(engine, relations, text):
    bound, prepared = plan_query(engine, text, (STARS, YEARS, CIRCLES))
    return prepared.describe_row_estimates(bound.literal_values, relations)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "SELECT id FROM sky.stars",
            ["sky.stars: about 13,000 rows, found by reading all rows", "PostgreSQL expects about 13,000 rows"],
        ),
        (
            "SELECT mag FROM sky.stars WHERE id = 33",
            ["sky.stars: about 1 rows, by an index", "PostgreSQL expects about 1 row"],
        ),
        (
            "SELECT COUNT(*) AS n FROM sky.years",
            ["sky.years: about 13,000 rows, found by reading all rows", "PostgreSQL expects about 1 row"],
        ),
    ],
)
def test_rows_and_indexes_are_told(engine, relations, text, lines):
    assert estimate_rows(engine, relations, text) == lines


def test_literals_count(engine, relations):
    few, many = (
        estimate_rows(engine, relations, f"SELECT id FROM sky.stars WHERE mag < {limit}")[-1] for limit in ("2", "12.5")
    )
    assert few != many


def test_a_detour_tells_what_travels(engine, relations):
    [line] = estimate_rows(engine, relations, "SELECT MOC(4, CIRCLE(ra, dec, 1)) AS m FROM sky.stars WHERE id = 33")
    assert line == "sky.stars, to the embedded engine: PostgreSQL expects about 1 row"


def test_uploads_are_not_guessed_at(engine, relations):
    assert (
        estimate_rows(engine, relations, "SELECT s.id FROM sky.stars AS s JOIN TAP_UPLOAD.list AS l ON l.k = s.id")
        == []
    )


def test_a_database_that_is_away_is_told(tmp_path, relations):
    away = postgres.open(tmp_path, memory=256 * 1024**2, threads=1, url=f"postgresql:///nothing?host={tmp_path}")
    try:
        [line] = estimate_rows(away, relations, "SELECT id FROM sky.stars")
    finally:
        away.close()
    assert line.startswith("none at the moment: ")
