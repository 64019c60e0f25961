"""Sites whose rows are in PostgreSQL: their settings, a database that goes and comes back, and schemas that each belong to one site."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest
from test_engines import ROWS, list_snapshot_engines, numbers, open_site

from hven import query
from hven.ingest.api.runs import ingest_collection, move_collection_to_engine
from hven.model.errors import DescriptorError, HvenError, StorageError, UserError
from hven.model.settings import Settings, load_settings
from hven.plugins.postgres.engine import schema_installation
from hven.plugins.postgres.engine.connection_pool import build_application_name
from hven.plugins.postgres.settings import PostgresSettings
from hven.site import Site
from postgres_cluster import find_programs, run_server
from process_runner import run_hven, wait_until


def test_the_engine_postgres_needs_an_address(tmp_path: Path) -> None:
    with Site(Settings(directory=tmp_path)) as site, pytest.raises(StorageError, match="has no database"):
        site.engines.get_engine("postgres")


def test_settings_of_the_engines(tmp_path: Path) -> None:
    file = tmp_path / "hven.toml"
    file.write_text(
        'engine = "postgres"\ndata = "/srv/hven"\n[postgres]\nurl = "$DB"\nread_role = "reader"\npool = 3\n'
    )
    found = load_settings(tmp_path, {"HVEN_POSTGRES_POOL": "5"})
    database = found.brought["postgres"]
    assert (found.engine, database.url, database.read_role, database.pool) == ("postgres", "$DB", "reader", 5)
    assert found.data_directory == Path("/srv/hven")
    file.write_text('[postgres]\nurl = "postgresql://me:secret@host/db"\nnamespace = "A b"\n')
    with pytest.raises(DescriptorError) as caught:
        load_settings(tmp_path, {})
    assert [fault.place.line for fault in caught.value.faults] == [2, 3]
    assert "of a secret if it contains a password" in str(caught.value)


@pytest.mark.outside
def test_postgresql_goes_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart of the database: its tables are refused in plain words, the others are served, and all is well again by itself."""
    monkeypatch.setattr("hven.site._site.ENGINE_CHECK_INTERVAL_SECONDS", 0.2)
    with run_server() as address:
        postgres = PostgresSettings(url=f"postgresql://{address}")
        with open_site(tmp_path, "postgres", brought={"postgres": postgres}) as site:
            ingest_collection(site, "things")
            assert list_snapshot_engines(site) == {"things.a": "postgres", "things.b": "postgres"}
            assert numbers(site) == [2, 3]
        near = tmp_path / "collections" / "near"
        near.mkdir()
        (near / "near.yaml").write_text(
            "collection: near\ntitle: Near\ntables:\n  a: {source: {kind: csv, files: a.csv}}\n"
        )
        (near / "a.csv").write_text(ROWS)
        with Site(Settings(directory=tmp_path, brought={"postgres": postgres}), watch_for_changes=True) as site:
            ingest_collection(site, "near")
            with query.run_query(
                "SELECT a.n FROM near.a AS a JOIN things.a AS b ON a.n = b.n ORDER BY 1", site=site
            ) as result:
                assert result.read_table().column(0).to_pylist() == [1, 2, 3]
            assert numbers(site) == [2, 3]
            pg_ctl(address, "stop", "-m", "fast")
            try:
                with pytest.raises(HvenError) as caught:
                    numbers(site)
                assert "Traceback" not in str(caught.value)
                with query.run_query("SELECT n FROM near.a ORDER BY 1", site=site) as result:
                    assert result.read_table().column(0).to_pylist() == [1, 2, 3]
                wait_until(lambda: any("engine postgres" in text for text in site.get_published_state().problems))
            finally:
                pg_ctl(address, "start")
            wait_until(lambda: not site.get_published_state().problems)
            assert numbers(site) == [2, 3]
            assert len(move_collection_to_engine(site, "things", "duckdb")) == 2
            assert len(move_collection_to_engine(site, "near", "postgres")) == 1
            assert numbers(site) == [2, 3]


def pg_ctl(address: str, *words: str) -> None:
    """Stop or start the server that an address leads to."""
    directory = address.partition("host=")[2]
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    line = [*prefix, str(find_programs() / "pg_ctl"), "-D", f"{directory}/data", "-w", "-l", f"{directory}/log", *words]
    line += ["-o", f"-c listen_addresses= -c unix_socket_directories={directory} -c fsync=off -c max_connections=40"]
    subprocess.run([*line, "-t", "150"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=180)


@pytest.mark.outside
def test_two_sites_do_not_share_a_schema(tmp_path: Path) -> None:
    """The second is refused before it removes anything; with a schema of its own, or when the first is given up, it is served."""
    with run_server() as address:
        url = f"postgresql://{address}"
        with open_site(tmp_path / "one", "postgres", brought={"postgres": PostgresSettings(url=url)}) as one:
            ingest_collection(one, "things")
            with open_site(tmp_path / "two", "postgres", brought={"postgres": PostgresSettings(url=url)}) as two:
                with pytest.raises(
                    StorageError, match=r"the schema 'hven' of the database belongs to another site, [0-9a-f]{16}"
                ) as caught:
                    ingest_collection(two, "things")
                assert "namespace under [postgres]" in str(caught.value.remedy)
            assert numbers(one) == [2, 3]
            with open_site(
                tmp_path / "two", "postgres", brought={"postgres": PostgresSettings(url=url, namespace="two")}
            ) as two:
                ingest_collection(two, "things")
                assert numbers(two) == numbers(one) == [2, 3]
        # the same site, opened again
        with open_site(tmp_path / "one", "postgres", brought={"postgres": PostgresSettings(url=url)}) as one:
            assert numbers(one) == [2, 3]


@pytest.mark.outside
def test_who_only_looks_at_a_database_does_not_take_it(tmp_path: Path) -> None:
    """A server whose tables are embedded looks whether the database answers; the schema is still free for who first writes into it."""
    with run_server() as address:
        url = f"postgresql://{address}"
        with open_site(tmp_path / "one", "duckdb", brought={"postgres": PostgresSettings(url=url)}) as one:
            ingest_collection(one, "things")
            assert one.engines.find_engine_problem("postgres") is None
            assert one.engines.get_engine("postgres").remove_leftovers(set()) == []
            with open_site(tmp_path / "two", "postgres", brought={"postgres": PostgresSettings(url=url)}) as two:
                ingest_collection(two, "things")
                assert numbers(one) == numbers(two) == [2, 3]
            with pytest.raises(StorageError, match="belongs to another site"):
                one.engines.get_engine("postgres").remove_leftovers(set())


def sessions(url: str, site: str) -> list[Any]:
    """Give the sessions that a site has in its schema."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = %s", [build_application_name("hven", site)]
        ).fetchall()


@pytest.mark.outside
def test_a_schema_whose_site_is_gone_is_adopted(tmp_path: Path) -> None:
    """Only the site that the refusal names, only if no session of it is open; its tables go with a later ingest."""
    with run_server() as address:
        url = f"postgresql://{address}"

        def adopt(site: Site, gone: str) -> list[str]:
            with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
                return schema_installation.adopt_schema(connection, "hven", site.store.get_site_id(), gone)

        with open_site(tmp_path / "two", "postgres", brought={"postgres": PostgresSettings(url=url)}) as two:
            with open_site(tmp_path / "one", "postgres", brought={"postgres": PostgresSettings(url=url)}) as one:
                ingest_collection(one, "things")
                gone = one.store.get_site_id()
                with pytest.raises(StorageError, match=f"belongs to another site, {gone}") as caught:
                    ingest_collection(two, "things")
                assert f"hven reclaim {gone}" in str(caught.value.remedy)
                with pytest.raises(
                    UserError, match=rf"the site {gone} still exists: it has \d+ sessions? in the schema 'hven'"
                ):
                    adopt(two, gone)
                with pytest.raises(UserError, match="already belongs to this site"):
                    adopt(one, gone)
                assert numbers(one) == [2, 3]
            with pytest.raises(UserError, match=f"belongs to the site {gone}, not to 0123"):
                adopt(two, "0123")
            wait_until(lambda: not sessions(url, gone))  # what was closed here ends there a moment later
            (tmp_path / "two" / "hven.toml").write_text(
                f'name = "two"\nengine = "postgres"\n[postgres]\nurl = "{url}"\n'
            )
            told = json.loads(run_hven("--site", str(tmp_path / "two"), "reclaim", gone, "--json").stdout)
            assert told["adopted"] == gone
            assert len(told["tables"]) == 2
            for _ in range(2):  # what is swept is looked for before an ingest, in the engines that are known then
                ingest_collection(two, "things")
            assert numbers(two) == [2, 3]
            with psycopg.connect(url) as connection:
                for table in told["tables"]:
                    assert connection.execute("SELECT to_regclass(%s)", [f'hven."{table}"']).fetchone() == (None,)
        with (
            open_site(tmp_path / "one", "postgres", brought={"postgres": PostgresSettings(url=url)}) as one,
            pytest.raises(StorageError, match="another site"),
        ):
            ingest_collection(one, "things")
