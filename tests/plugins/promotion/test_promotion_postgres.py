"""Promotions between a site with the embedded engine and one with its rows in PostgreSQL, in both directions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from promotion_sites import (
    SitePair,
    ask,
    create_postgres_sites,
    promote_collection,
    read_version,
    return_to_earlier_publication,
)

from hven.ingest.api.runs import ingest_collection
from hven.plugins.promotion.promotion_reports import PromotionReport
from plugin_needs import require_plugins
from postgres_cluster import run_server

pytestmark = pytest.mark.outside
KINDS = """\
collection: kinds
title: Values of all kinds
tables:
  main:
    primary: id
    partition: {by: time, column: seen, every: 2 months}
    columns:
      id: {type: int32}
      seen: {type: timestamp}
      u8: {type: uint8}
      f32: {type: float32}
      f64: {type: float64}
      flag: {type: boolean}
      text: {type: string}
      region: {type: circle}
      many: {type: "float64[*]"}
    source: {kind: parquet, files: kinds.parquet}
  keyless:
    columns: {text: {type: string}}
    source: {kind: csv, files: keyless.csv}
  few:
    view: SELECT id, text FROM kinds.main WHERE id < 3
"""


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    require_plugins("engines", "postgres")
    with run_server() as address:
        yield f"postgresql://{address}"


def promote(pair: SitePair, collection: str) -> PromotionReport:
    with pair.open_dev() as dev, pair.open_gold() as gold:
        return promote_collection(dev, gold, collection)


def write_kinds(directory: Path, changed_text: str) -> None:
    """Write values at the ends of their ranges, nulls, texts of all alphabets, and empty lists."""
    home = directory / "collections/kinds"
    home.mkdir(parents=True, exist_ok=True)
    (home / "kinds.yaml").write_text(KINDS)
    (home / "keyless.csv").write_text(f"text\nsame\nsame\n{changed_text}\n")
    rows = pa.table(
        {
            "id": pa.array([1, 2, 3, 4, 5], pa.int32()),
            "seen": pa.array([dt.datetime(2020, month, 3, 4, 5, 6, 789) for month in (1, 2, 5, 9)] + [None]),
            "u8": pa.array([0, 255, None, 7, 8], pa.uint8()),
            "f32": pa.array([1.17549435e-38, -3.4028235e38, None, -0.0, 0.1], pa.float32()),
            "f64": pa.array([0.1, 5e-324, None, -0.0, 1.7976931348623157e308]),
            "flag": pa.array([True, False, None, True, False]),
            "text": pa.array(["", "a'b\\\t\n\u2609\U0001f71a", None, changed_text, "e"]),
            "region": pa.array([[10.0, 20.0, 1.5], None, [0.0, -90.0, 0.25], [359.5, 90.0, 2.0], [1.0, 2.0, 3.0]]),
            "many": pa.array([[], [1.5, -2.5e300], None, [0.0], [1.0, 2.0, 3.0]]),
        }
    )
    pq.write_table(rows, home / "kinds.parquet")


def test_versions_go_to_postgresql_and_back(tmp_path: Path, database: str) -> None:
    pair = create_postgres_sites(tmp_path, database, "versions")
    pair.publish_version(1)
    promote(pair, "stars")
    for version in (2, 3):
        pair.publish_version(version)
        report = promote(pair, "stars")
        main = next(table for table in report.tables if table.record.table.name == "main")
        assert main.difference is not None
        assert main.copied_rows == main.difference.added + main.difference.changed
    with pair.open_gold() as gold:
        assert read_version(gold) == 3
        assert {record.snapshot.engine for record in gold.store.read_published_records()[1].values()} == {"postgres"}
        return_to_earlier_publication(gold, "stars")
        assert read_version(gold) == 2


@pytest.mark.parametrize("direction", ["to PostgreSQL", "from PostgreSQL"])
def test_values_of_all_kinds_are_equal_on_both_sides(tmp_path: Path, database: str, direction: str) -> None:
    namespace = "kinds_" + direction.partition(" ")[0]
    pair = create_postgres_sites(tmp_path, database, namespace)
    if direction == "from PostgreSQL":
        text = (pair.dev / "hven.toml").read_text()
        (pair.dev / "hven.toml").write_text((pair.gold / "hven.toml").read_text() + text)
        (pair.gold / "hven.toml").write_text("")
    for changed_text in ("one", "two"):
        write_kinds(pair.dev, changed_text)
        with pair.open_dev() as dev:
            ingest_collection(dev, "kinds")
        report = promote(pair, "kinds")
    copied = {table.record.table.name: table.copied_rows for table in report.tables}
    assert copied == {"main": 1, "keyless": 3}
    with pair.open_dev() as dev, pair.open_gold() as gold:
        engines = [next(iter(site.store.read_published_records()[1].values())).snapshot.engine for site in (dev, gold)]
        assert engines == (["duckdb", "postgres"] if direction == "to PostgreSQL" else ["postgres", "duckdb"])
        for adql in (
            "SELECT * FROM kinds.main ORDER BY id",
            "SELECT * FROM kinds.keyless ORDER BY text",
            "SELECT * FROM kinds.few ORDER BY id",
            "SELECT table_name, column_name, datatype, unit, ucd FROM TAP_SCHEMA.columns ORDER BY 1, 2",
        ):
            assert ask(dev, adql) == ask(gold, adql)
        partition = gold.get_published_state().tables_by_name["kinds.main"].table.partition
        assert partition == dev.get_published_state().tables_by_name["kinds.main"].table.partition
    assert promote(pair, "kinds").run is None


MIXED = """\
collection: ops
title: Stored and foreign tables
tables:
  facts:
    columns: {version: {type: int32}}
    source: {kind: csv, files: facts.csv}
  cubes:
    columns:
      id: {type: int32}
      mag: {type: float64, unit: UNIT}
    source: {kind: live, url: $OPS_DB, table: elsewhere.cubes}
"""


def test_foreign_tables_are_promoted_with_the_descriptor(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_DB", database)
    socket_directory = database.partition("host=")[2]
    with psycopg.connect(database, autocommit=True) as connection:
        for statement in (
            "CREATE EXTENSION IF NOT EXISTS postgres_fdw",
            "CREATE TABLE public.cubes (id int PRIMARY KEY, mag float8)",
            "INSERT INTO public.cubes VALUES (1, 1.5), (2, 2.5)",
            f"CREATE SERVER ops FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname 'postgres', host '{socket_directory}')",
            "CREATE USER MAPPING FOR CURRENT_USER SERVER ops OPTIONS (user 'hven')",
            "CREATE SCHEMA elsewhere",
            "IMPORT FOREIGN SCHEMA public LIMIT TO (cubes) FROM SERVER ops INTO elsewhere",
        ):
            connection.execute(statement)
    pair = create_postgres_sites(tmp_path, database, "mixed")
    home = pair.dev / "collections/ops"
    home.mkdir(parents=True)
    (home / "facts.csv").write_text("version\n1\n")
    (home / "ops.yaml").write_text(MIXED.replace("UNIT", "mag"))
    with pair.open_dev() as dev:
        ingest_collection(dev, "ops")
    report = promote(pair, "ops")
    assert report.metadata.added_tables == ["ops.cubes", "ops.facts"]
    (home / "ops.yaml").write_text(MIXED.replace("UNIT", "mmag"))
    report = promote(pair, "ops")
    assert report.metadata.columns == ["ops.cubes.mag: unit mag -> mmag"]
    unit_query = "SELECT unit FROM TAP_SCHEMA.columns WHERE table_name = 'ops.cubes' AND column_name = 'mag'"
    with pair.open_gold() as gold:
        assert ask(gold, "SELECT id, mag FROM ops.cubes ORDER BY id") == [{"id": 1, "mag": 1.5}, {"id": 2, "mag": 2.5}]
        assert ask(gold, unit_query) == [{"unit": "mmag"}]
        return_to_earlier_publication(gold, "ops")
        assert ask(gold, unit_query) == [{"unit": "mag"}]
