"""Administrators and machines that do their worst to the database of a site: clear words, the old state kept, and all is well again by itself."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
import time
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from hven.adql import bind_query, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.engines import ExecutionLimits
from hven.model.errors import StorageError
from hven.model.table import Column, PartitionScheme, Table
from hven.model.types import INT64, STRING
from hven.plugins.postgres import engine as postgres
from hven.plugins.postgres.engine import schema_installation
from hven.testing.engine import STAR_COUNT, STARS_TABLE, make_star_table
from postgres_cluster import install_extensions, run_cluster
from process_runner import wait_until
from requirements import report_missing, require

pytestmark = pytest.mark.outside
CONE = "SELECT COUNT(*) AS n FROM sky.stars WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 5))"


@pytest.fixture(scope="module")
def machine():
    with run_cluster() as found:
        install_extensions(found.url)
        yield found


def open_engine(machine, directory, **how):
    return postgres.open(
        directory, memory=256 * 1024**2, threads=1, url=how.pop("url", machine.url), pool=how.pop("pool", 4), **how
    )


def write(engine, table=STARS_TABLE, rows=None, name="a"):
    rows = make_star_table() if rows is None else rows
    staging = engine.stage_snapshot(table, f"{name}{time.monotonic_ns()}")
    for batch in rows.to_batches(max_chunksize=1000):
        staging.write(batch)
    return staging.finish()


def ask(engine, text, snapshot):
    bound = bind_query(parse_query(text), StaticTableCatalogue([STARS_TABLE]))
    execution = engine.plan_query(bound).execute(bound.literal_values, {"sky.stars": snapshot}, ExecutionLimits())
    return [row for batch in execution for row in batch.to_pylist()]


def run(url, *texts):
    with psycopg.connect(url, autocommit=True) as connection:
        return [connection.execute(text) for text in texts]


@pytest.mark.parametrize(("extension", "position"), [("q3c", "q3c"), ("pg_sphere", "pgsphere")])
def test_an_extension_that_disappears(machine, tmp_path, extension, position):
    engine = open_engine(machine, tmp_path, schema=f"gone_{position}", position=position)
    snapshot = write(engine)
    wanted = ask(engine, CONE, snapshot)
    match = "SELECT COUNT(*) AS n FROM sky.stars AS a, sky.stars AS b WHERE a.id < 50 AND DISTANCE(a.ra, a.dec, b.ra, b.dec) < 0.5"
    pairs = ask(engine, match, snapshot)
    if position == "q3c":
        run(machine.url, "DROP EXTENSION q3c CASCADE")
    else:
        # where Debian's pgSphere was loaded by its script, there is no extension to drop
        kinds = (f"DROP TYPE IF EXISTS {kind} CASCADE" for kind in ("scircle", "spoint"))
        run(machine.url, "DROP EXTENSION IF EXISTS pg_sphere CASCADE", *kinds)
    try:
        for _ in range(2):  # the engine sees it at the first query, and finds positions by cells
            assert ask(engine, CONE, snapshot) == wanted
            assert ask(engine, match, snapshot) == pairs
        assert ask(engine, CONE, write(engine, name="after")) == wanted
        assert ask(engine, "SELECT COUNT(*) AS n FROM sky.stars", snapshot) == [{"n": STAR_COUNT}]
        engine.close()
        engine = open_engine(machine, tmp_path, schema=f"gone_{position}", position=position)
        with pytest.raises(StorageError, match=f"the database has no {position}") as caught:
            engine.stage_snapshot(STARS_TABLE, "b")
        assert "CREATE EXTENSION" in caught.value.remedy
    finally:
        engine.close()
        if position == "pgsphere":
            run(
                machine.url,
                "DROP SCHEMA public CASCADE",
                "CREATE SCHEMA public",
                "GRANT ALL ON SCHEMA public TO public",
            )
        install_extensions(machine.url)


def test_the_server_takes_no_more_connections(machine, tmp_path):
    engine = open_engine(machine, tmp_path, schema="full")
    snapshot = write(engine)
    engine.close()
    engine = open_engine(machine, tmp_path, schema="full")
    run(
        machine.url,
        "DO $$ BEGIN CREATE ROLE few LOGIN CONNECTION LIMIT 0; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    )
    limited = open_engine(machine, tmp_path, schema="full", url=psycopg.conninfo.make_conninfo(machine.url, user="few"))
    with pytest.raises(StorageError, match="does not accept more connections") as caught:
        ask(limited, CONE, snapshot)
    assert "max_connections" in caught.value.remedy
    limited.close()
    held = []
    try:
        [(most,)] = run(machine.url, "SHOW max_connections")[0].fetchall()
        wait_until(
            lambda: held.append(psycopg.connect(machine.url)) or len(held) == int(most)
        )  # sessions that end keep their places for a moment
        with pytest.raises(StorageError, match="does not accept more connections"):
            ask(engine, CONE, snapshot)
    finally:
        for connection in held:
            connection.close()

    def ask_again():
        with contextlib.suppress(StorageError):
            return ask(engine, CONE, snapshot)

    wait_until(ask_again)
    engine.close()


def test_limits_that_the_server_sets_do_not_touch_our_sessions(machine, tmp_path):
    run(
        machine.url,
        "ALTER ROLE hven SET statement_timeout = '1ms'",
        "ALTER ROLE hven SET idle_in_transaction_session_timeout = '1ms'",
    )
    try:
        engine = open_engine(machine, tmp_path, schema="hasty")
        snapshot = write(engine)
        text = "SELECT COUNT(*) AS n FROM sky.stars AS a JOIN sky.stars AS b ON a.band = b.band"
        assert ask(engine, text, snapshot) == [{"n": 5 * (STAR_COUNT // 5) ** 2}]
        engine.close()
    finally:
        run(psycopg.conninfo.make_conninfo(machine.url, options="-c statement_timeout=0"), "ALTER ROLE hven RESET ALL")


def test_a_statement_that_the_server_ends_is_a_timeout(machine, tmp_path):
    from hven.plugins.postgres.engine import error_translation

    with psycopg.connect(machine.url, autocommit=True) as connection:
        connection.execute("SET statement_timeout = '20ms'")
        with pytest.raises(psycopg.Error) as caught:
            connection.execute("SELECT pg_sleep(2)")
    assert type(error_translation.translate_postgres_error(caught.value)).__name__ == "TimeLimitError"


def test_connections_that_are_killed_over_and_over(machine, tmp_path):
    engine = open_engine(machine, tmp_path, schema="killed")
    snapshot = write(engine)
    over, kills = threading.Event(), []

    def kill():
        with psycopg.connect(machine.url, autocommit=True) as connection:
            while not over.wait(0.3):
                kills.append(time.monotonic())
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'hven%' AND state = 'idle'"
                )

    killer = threading.Thread(target=kill)
    killer.start()
    good, bad = 0, []
    try:
        while len(kills) < 6 or good < 10:
            for text in (CONE, "SELECT id FROM sky.stars"):
                try:
                    ask(engine, text, snapshot)
                    good += 1
                except StorageError as error:
                    bad.append(error)
    finally:
        over.set()
        killer.join()
    assert len(bad) <= 2 * len(kills)  # there are two kinds of sessions; most are replaced before anybody sees it
    assert len(ask(engine, "SELECT id FROM sky.stars", snapshot)) == STAR_COUNT
    engine.close()


def test_two_versions_of_hven_in_one_schema(machine, tmp_path, monkeypatch):
    """The older program and the newer one write their functions into one schema; both go on, and so do queries meanwhile."""
    old = open_engine(machine, tmp_path / "old", schema="both")
    snapshot = write(old)
    wanted = ask(old, CONE, snapshot)
    monkeypatch.setattr(schema_installation, "FUNCTIONS_VERSION", "0123456789abcdef")
    new = open_engine(machine, tmp_path / "new", schema="both")
    assert ask(new, CONE, snapshot) == wanted
    monkeypatch.undo()
    assert ask(old, CONE, snapshot) == wanted
    again = open_engine(machine, tmp_path / "again", schema="both")
    assert ask(again, CONE, write(again)) == wanted
    for engine in (old, new, again):
        engine.close()


@pytest.fixture
def small_disk(machine):
    """A tablespace on a file system of 24 MB."""
    require("mount")
    place = Path(str(machine.directory) + "-small")
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place], check=False, capture_output=True
    ).returncode:
        place.rmdir()
        report_missing("mount")
    try:
        shutil.chown(place, "postgres", "postgres")
        run(
            machine.url,
            f"CREATE TABLESPACE small LOCATION '{place}'",
            "CREATE ROLE narrow LOGIN SUPERUSER",
            "ALTER ROLE narrow SET default_tablespace = small",
        )
        yield psycopg.conninfo.make_conninfo(machine.url, user="narrow")
        run(
            machine.url,
            "DROP SCHEMA IF EXISTS small CASCADE",
            "DROP OWNED BY narrow CASCADE",
            "DROP ROLE narrow",
            "DROP TABLESPACE small",
        )
    finally:
        subprocess.run(["umount", "-l", place], check=False)
        place.rmdir()


@pytest.mark.parametrize("cut", [False, True])
def test_a_full_disk_during_copy_keeps_the_old_state(machine, small_disk, tmp_path, cut):
    engine = open_engine(machine, tmp_path, schema="small", url=small_disk)
    table = (
        STARS_TABLE.copy_with(partition=PartitionScheme(by="time", column="seen", every="1 year"))
        if cut
        else STARS_TABLE
    )
    before = write(engine, table)
    wanted = ask(engine, CONE, before)
    big = Table(
        schema="s", name="big", columns=(Column(name="n", type=INT64), Column(name="w", type=STRING)), partition=None
    )
    rows = pa.table({"n": pa.array(range(60_000), pa.int64()), "w": ["x" * 900 + str(n) for n in range(60_000)]})
    with pytest.raises(StorageError, match=r"disk of the database server .* is full") as caught:
        write(engine, big, rows, name="big")
    assert "free some space" in caught.value.remedy
    assert ask(engine, CONE, before) == wanted
    left = run(small_disk, "SELECT relname FROM pg_class WHERE relname LIKE 's_s_big%'")[0].fetchall()
    assert left == []
    assert ask(engine, CONE, write(engine, table, name="again")) == wanted, "there is room again"
    engine.close()
