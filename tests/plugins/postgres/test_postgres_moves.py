"""A whole site into an empty PostgreSQL, rows and system state, and back; collections that move there and back are what they were."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from hven import query
from hven.ingest.api.runs import move_collection_to_engine
from hven.model.settings import create_site_directory, load_settings
from hven.model.table import Column, PartitionScheme, Table
from hven.model.types import parse_type
from hven.site import Site
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.engine import STARS_TABLE, make_star_table
from hven.testing.site import publish_rows
from postgres_cluster import run_server
from process_runner import run_hven

pytestmark = pytest.mark.outside
ODD = Table(
    schema="odd", name="Types",
    columns=tuple(Column(name=name, type=parse_type(text)) for name, text in (
        ("u8", "uint8"), ("i16", "int16"), ("f32", "float32"), ("flag", "boolean"), ("Mixed case", "string"), ("when", "timestamp"), ("three", "int16[3]"), ("many", "float64[*]"),
    )),
)  # fmt: skip


def odd() -> pa.Table:
    """Give ends of ranges, nulls, and letters of all kinds."""
    return pa.table(
        {
            "u8": [0, 255, None],
            "i16": [-(2**15), 2**15 - 1, None],
            "f32": [1.17549435e-38, -3.4028235e38, None],
            "flag": [True, False, None],
            "Mixed case": ["", "a'b\\\t\n☉🜨", None],
            "when": [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999), None],
            "three": [[1, 2, 3], [-1, 0, 7], None],
            "many": [[], [1.5, -2.5e300], None],
        },
        schema=ODD.arrow_schema,
    )


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with run_server() as address:
        yield f"postgresql://{address}"


@pytest.fixture
def site(tmp_path: Path, database: str) -> Iterator[Site]:
    directory = create_site_directory(tmp_path / "site", name="Uraniborg")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS moved CASCADE")
    with (directory / "hven.toml").open("a") as file:
        file.write(f'\n[postgres]\nurl = "{database}"\nnamespace = "moved"\n')
    with Site(load_settings(directory, {})) as made:
        publish_rows(
            made,
            STARS_TABLE.copy_with(
                partition=PartitionScheme(by="time", column="seen", every="2 months"), indexes=(("band", "mag"),)
            ),
            make_star_table(),
        )
        publish_rows(made, ODD, odd())
        made.refresh_published_state()
        yield made


def answers(site: Site) -> list[Any]:
    site.refresh_published_state()
    found = []
    for text in (
        "SELECT * FROM sky.stars ORDER BY id",
        'SELECT * FROM odd."Types" ORDER BY u8',
        "SELECT id FROM sky.stars WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(100, 20, 5)) ORDER BY id",
        'SELECT table_name, column_name, datatype, "size", indexed FROM TAP_SCHEMA.columns ORDER BY 1, 2',
    ):
        with query.run_query(text, OWNER_PRINCIPAL, site=site) as result:
            table = result.read_table()
            found.append((table.schema.names, table.to_pylist()))
    return found


def homes(site: Site) -> set[str]:
    return {record.snapshot.engine for record in site.store.read_published_records()[1].values()}


def test_there_and_back_again(site: Site, database: str) -> None:
    before = answers(site)
    first = site.store.read_published_records()[1]
    for name in ("sky", "odd"):
        move_collection_to_engine(site, name, "postgres")
    assert homes(site) == {"postgres"}
    assert answers(site) == before
    there = site.store.read_published_records()[1]
    with psycopg.connect(database) as connection:
        parts = connection.execute(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = %s::regclass",
            [f'moved."{there["sky.stars"].snapshot.path}"'],
        )
        assert parts.fetchone()[0] >= 4  # type: ignore[index]
    for name in ("sky", "odd"):
        move_collection_to_engine(site, name, "duckdb")
    assert answers(site) == before
    back = site.store.read_published_records()[1]
    for name, record in back.items():
        assert (record.snapshot.rows, record.snapshot.coverage, record.table) == (
            first[name].snapshot.rows,
            first[name].snapshot.coverage,
            first[name].table,
        )


@pytest.mark.parametrize("home", ["duckdb", "postgres"])
def test_a_backup_is_restored_into_an_empty_database(site: Site, database: str, tmp_path: Path, home: str) -> None:
    if home == "postgres":
        for name in ("sky", "odd"):
            move_collection_to_engine(site, name, "postgres")
    before = answers(site)
    run_hven("backup", tmp_path / "whole.tar", "--site", site.settings.directory)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS empty_{home}")
        connection.execute(f"CREATE DATABASE empty_{home}")
    url = psycopg.conninfo.make_conninfo(database, dbname=f"empty_{home}")
    address = f"postgresql://hven@/empty_{home}?host={psycopg.conninfo.conninfo_to_dict(url)['host']}"
    environment = {
        "HVEN_POSTGRES_URL": address,
        "HVEN_STORE": address.replace("postgresql://", "postgresql+psycopg://"),
    }
    run_hven("restore", tmp_path / "whole.tar", tmp_path / "again", "--engine", "postgres", **environment)
    with Site(load_settings(tmp_path / "again", environment)) as again:
        assert homes(again) == {"postgres"}
        assert answers(again) == before
    assert answers(site) == before


def test_a_restoration_without_its_database_leaves_nothing(site: Site, tmp_path: Path) -> None:
    run_hven("backup", tmp_path / "whole.tar", "--site", site.settings.directory)
    told = run_hven(
        "restore",
        tmp_path / "whole.tar",
        tmp_path / "again",
        "--engine",
        "postgres",
        expected_code=3,
        HVEN_POSTGRES_URL="postgresql://hven@127.0.0.1:9/x",
    ).stderr
    assert "127.0.0.1" in told
    assert not (tmp_path / "again").exists() or not any((tmp_path / "again").iterdir())
