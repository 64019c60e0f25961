"""``hven fdw``: tables of two other databases beside ours, set up by the text or at once, checked, and clear words when one is wrong."""

from __future__ import annotations

import json
import subprocess

import psycopg
import pytest

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import HvenError, StorageUnavailableError
from hven.model.settings import load_settings
from hven.site import Site
from plugin_needs import require_plugins
from postgres_cluster import find_programs, run_cluster
from process_runner import run_hven, wait_until

pytestmark = pytest.mark.outside
SECRET = "s3cret'\\ words"


@pytest.fixture(scope="module")
def machines():
    with run_cluster() as ours, run_cluster() as theirs:
        yield ours, theirs


def run(url, *texts):
    with psycopg.connect(url, autocommit=True) as connection:
        for text in texts:
            connection.execute(text)


def rows(url, text):
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(text).fetchall()


def require_guest_password(machine):
    """The role `guest` needs its password."""
    loaded = "SELECT pg_conf_load_time()"
    before = rows(machine.url, loaded)
    rules = machine.directory / "data" / "pg_hba.conf"
    rules.write_text("local all guest scram-sha-256\nlocal all all trust\n")
    run(machine.url, "SELECT pg_reload_conf()")
    wait_until(lambda: rows(machine.url, loaded) != before)  # the server reads it when it comes to it


@pytest.fixture
def site(machines, tmp_path, monkeypatch):
    """A site whose database is one cluster; the tables are in the other."""
    ours, theirs = machines
    run(ours.url, "DROP SERVER IF EXISTS ops CASCADE", "DROP SCHEMA IF EXISTS ops CASCADE", "DROP EXTENSION IF EXISTS postgres_fdw CASCADE",
        "DO $$ BEGIN CREATE ROLE reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")  # fmt: skip
    password = SECRET.replace("'", "''")
    run(theirs.url, 'DROP TABLE IF EXISTS cubes, "Odd Name", secret CASCADE',
        "DO $$ BEGIN CREATE ROLE guest LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        f"ALTER ROLE guest PASSWORD '{password}'",
        "CREATE TABLE cubes (id int PRIMARY KEY, ra float8, dec float8, name text, made timestamptz)",
        "INSERT INTO cubes SELECT n, n % 360, n % 90, 'cube ' || n, '2020-01-01Z'::timestamptz + n * interval '1 hour' FROM generate_series(1, 5000) AS n",
        'CREATE TABLE "Odd Name" (id int, "Mixed" numeric(8, 2))', 'INSERT INTO "Odd Name" VALUES (1, 2.5)',
        "CREATE TABLE secret (id int)", 'GRANT SELECT ON cubes, "Odd Name" TO guest')  # fmt: skip
    require_guest_password(theirs)
    monkeypatch.setenv("OPS_DB", psycopg.conninfo.make_conninfo(theirs.url, user="guest", password=SECRET))
    (tmp_path / "hven.toml").write_text(
        f'[postgres]\nurl = "{ours.url}"\nread_role = "reader"\n[[foreign]]\nname = "ops"\nurl = "$OPS_DB"\ntables = ["cubes", "Odd Name"]\n'
    )
    place = tmp_path / "collections" / "mine"
    place.mkdir(parents=True)
    (place / "mine.yaml").write_text(
        "collection: mine\ntitle: Mine\ntables:\n"
        f"  cubes: {{source: {{kind: sql, url: '{ours.url}', table: ops.cubes}}}}\n"
        "  near:\n    source: {kind: csv, files: a.csv}\n"
    )
    (place / "a.csv").write_text("id,word\n3,x\n4,y\n")
    return tmp_path


def levels(site):
    found = json.loads(run_hven("fdw", "--check", "--json", "--site", site, expected_code=1).stdout)
    return {(item["about"], item["level"], item["message"]): item["remedy"] for item in found}


def test_the_text_is_run_by_psql_and_holds_no_secret(machines, site, tmp_path):
    ours, _ = machines
    text = run_hven("fdw", "ops", "--site", site).stdout
    assert SECRET not in text
    assert "s3cret" not in text
    assert "\\getenv password HVEN_FDW_OPS_PASSWORD" in text
    for _ in range(2):  # again does no harm
        done = subprocess.run(
            [find_programs() / "psql", "-X", "-q", "-d", ours.url], input=text.encode(), capture_output=True, check=False, timeout=300,
            env={"HVEN_FDW_OPS_PASSWORD": SECRET, "PATH": "/usr/bin"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
    assert rows(ours.url, "SELECT count(*) FROM ops.cubes") == [(5000,)]
    assert rows(ours.url, 'SELECT "Mixed" FROM ops."Odd Name"')[0][0] == 2.5
    told = run_hven("fdw", "ops", "--check", "--site", site).stdout
    assert "5,000 rows read in" in told
    assert "conditions on the table's columns are sent" in told
    with (
        psycopg.connect(ours.url) as connection,
        pytest.raises(psycopg.Error, match=r"permission denied|does not allow"),
    ):
        connection.execute("DELETE FROM ops.cubes")


def test_it_is_set_up_at_once_and_serves_as_a_source_beside_tables_of_ours(site):
    require_plugins("sources", "sql")
    assert "2 tables of" in run_hven("fdw", "--apply", "--site", site).stdout
    run_hven("fdw", "--apply", "--site", site)
    told = run_hven("fdw", "--check", "--json", "--site", site).stdout
    assert {item["level"] for item in json.loads(told)} == {"ok"}
    assert "s3cret" not in told
    with Site(load_settings(site)) as opened:
        ingest_collection(opened, "mine")
        with query.run_query(
            "SELECT c.id, c.name, n.word FROM mine.cubes AS c JOIN mine.near AS n ON c.id = n.id ORDER BY 1",
            site=opened,
        ) as result:
            assert result.read_table().to_pylist() == [
                {"id": 3, "name": "cube 3", "word": "x"},
                {"id": 4, "name": "cube 4", "word": "y"},
            ]


def test_foreign_tables_are_served_in_place(machines, site):
    _, theirs = machines
    run_hven("fdw", "--apply", "--site", site)
    text = (site / "collections" / "mine" / "mine.yaml").read_text().replace("kind: sql", "kind: live")
    (site / "collections" / "mine" / "mine.yaml").write_text(text)
    with Site(load_settings(site)) as opened:
        ingest_collection(opened, "mine")

        def ask(text):
            with query.run_query(text, site=opened) as result:
                return result.read_table().to_pylist()

        assert ask("SELECT name FROM mine.cubes WHERE id = 7") == [{"name": "cube 7"}]
        run(theirs.url, "INSERT INTO cubes VALUES (9001, 1, 1, 'new', NULL)")
        assert ask("SELECT name FROM mine.cubes WHERE id = 9001") == [{"name": "new"}]
        assert ask("SELECT c.id, n.word FROM mine.cubes AS c JOIN mine.near AS n ON c.id = n.id ORDER BY 1") == [
            {"id": 3, "word": "x"},
            {"id": 4, "word": "y"},
        ]
        theirs.stop()
        try:
            for text in ("SELECT name FROM mine.cubes WHERE id = 7", "SELECT name FROM mine.cubes"):
                with pytest.raises(HvenError) as caught:
                    ask(text)
                assert "another database" in str(caught.value) or "cannot be" in str(caught.value), caught.value
                assert caught.value.remedy
            assert ask("SELECT COUNT(*) AS n FROM mine.near") == [{"n": 2}]
        finally:
            theirs.start()
        assert ask("SELECT name FROM mine.cubes WHERE id = 7") == [{"name": "cube 7"}]
        run(theirs.url, "ALTER TABLE cubes RENAME COLUMN name TO title")
        with pytest.raises(StorageUnavailableError, match="has changed") as caught:
            ask("SELECT name FROM mine.cubes WHERE id = 7")
        assert "hven check" in str(caught.value.remedy) or "hven fdw" in str(caught.value.remedy)


def test_a_wrong_password_is_told_with_the_remedy(machines, site, monkeypatch):
    ours, _ = machines
    run_hven("fdw", "--apply", "--site", site)
    for role in ("hven", "reader"):
        run(ours.url, f"ALTER USER MAPPING FOR {role} SERVER ops OPTIONS (SET password 'wrong')")
    found = levels(site)
    said = [(message, remedy) for (about, level, message), remedy in found.items() if level == "error"]
    assert any("rejects this user" in message and "user mapping" in remedy for message, remedy in said), found
    monkeypatch.setenv("OPS_DB", psycopg.conninfo.make_conninfo(machines[1].url, user="guest", password="wrong"))
    (message,) = [message for (about, level, message) in levels(site) if about == "ops" and level == "error"]
    assert "rejects this user" in message
    assert "check `url` under [[foreign]] ops" in run_hven("fdw", "--apply", "--site", site, expected_code=3).stderr


def test_changed_columns_are_told_and_mended(machines, site):
    _, theirs = machines
    run_hven("fdw", "--apply", "--site", site)
    run(theirs.url, "ALTER TABLE cubes DROP COLUMN name, ADD COLUMN flux real, ALTER COLUMN id TYPE bigint")
    found = levels(site)
    told = {message: remedy for (about, _, message), remedy in found.items() if about == "ops.cubes"}
    assert (
        "ALTER FOREIGN TABLE"
        in told["the column name no longer exists on the remote server, so queries on this column fail"]
    )
    assert "the column id has the type bigint on the remote server, but integer here" in told
    assert "the column flux (real) is new on the remote server, so it is not visible here" in told
    run_hven("fdw", "--apply", "--site", site)
    assert {item["level"] for item in json.loads(run_hven("fdw", "--check", "--json", "--site", site).stdout)} == {"ok"}


def test_an_unreachable_server_and_missing_tables_are_told(machines, site, monkeypatch):
    text = (site / "hven.toml").read_text()
    (site / "hven.toml").write_text(text.replace('"Odd Name"', '"nothing", "secret"'))
    assert any("the foreign server is not set up" in message for (_, _, message) in levels(site))
    assert "there is no table public.nothing" in run_hven("fdw", "--apply", "--site", site, expected_code=1).stderr
    (site / "hven.toml").write_text(text.replace('"Odd Name"', '"secret"'))
    run_hven("fdw", "--apply", "--site", site)
    assert any(
        "guest is not allowed to read the table" in message and "GRANT SELECT" in remedy
        for (_, _, message), remedy in levels(site).items()
    )
    monkeypatch.setenv("OPS_DB", "postgresql://guest:x@127.0.0.1:9/postgres")
    assert any("does not respond" in message or "refused" in message for (_, _, message) in levels(site)), levels(site)
    written = run_hven("fdw", "--site", site)
    assert "extensions were not compared" in written.stderr
    assert "IMPORT FOREIGN SCHEMA" in written.stdout


def test_a_role_that_may_not_is_told_whom_to_ask(machines, site):
    ours, _ = machines
    run(ours.url, "DO $$ BEGIN CREATE ROLE plain LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    text = (site / "hven.toml").read_text()
    (site / "hven.toml").write_text(text.replace("hven@/", "plain@/"))
    told = run_hven("fdw", "--apply", "--site", site, expected_code=1).stderr
    assert "is not allowed to set up the foreign tables" in told
    assert "`hven fdw ops > ops.sql`, and send the file to an administrator" in told
    assert rows(ours.url, "SELECT count(*) FROM pg_foreign_server") == [(0,)]


def test_a_user_whom_the_other_server_trusts_needs_a_superuser(machines, site, monkeypatch):
    ours, theirs = machines
    run(
        theirs.url,
        "DO $$ BEGIN CREATE ROLE trusted LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        'GRANT SELECT ON cubes, "Odd Name" TO trusted',
    )
    monkeypatch.setenv("OPS_DB", psycopg.conninfo.make_conninfo(theirs.url, user="trusted"))
    run(ours.url, "DO $$ BEGIN CREATE ROLE owner LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        "CREATE EXTENSION IF NOT EXISTS postgres_fdw", "GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO owner", "GRANT CREATE ON DATABASE postgres TO owner")  # fmt: skip
    toml = site / "hven.toml"
    text = toml.read_text()
    toml.write_text(text.replace("hven@/", "owner@/"))
    assert "send the file to an administrator" in run_hven("fdw", "--apply", "--site", site, expected_code=1).stderr
    toml.write_text(text)
    run_hven("fdw", "--apply", "--site", site)
    assert {item["level"] for item in json.loads(run_hven("fdw", "--check", "--json", "--site", site).stdout)} == {"ok"}
    as_reader = psycopg.conninfo.make_conninfo(ours.url, user="reader")
    assert rows(as_reader, "SELECT count(*) FROM ops.cubes") == [(5000,)]
    for role in ("hven", "reader"):  # as it was set up by hand
        run(ours.url, f"ALTER USER MAPPING FOR {role} SERVER ops OPTIONS (DROP password_required)")
    said = [(message, remedy) for (_, level, message), remedy in levels(site).items() if level == "error"]
    assert any(
        "only superusers may read without a password" in message and "password_required" in remedy
        for message, remedy in said
    ), said


def test_faults_in_the_settings_are_told(tmp_path):
    (tmp_path / "hven.toml").write_text(
        '[[foreign]]\nname = "ops"\nurl = "postgresql://a:secret@b/c"\n[[foreign]]\nname = "a b"\nurl = "$X"\ntables = []\n'
    )
    told = run_hven("fdw", "--site", tmp_path, expected_code=1).stderr
    for part in ("foreign.0.tables: is missing", "hven.toml:3", "hven.toml:5", "foreign.1.tables"):
        assert part in told, told
    (tmp_path / "hven.toml").write_text("")
    assert "names no" in run_hven("fdw", "--site", tmp_path, expected_code=2).stderr


def test_a_table_with_its_schema_is_told_where_the_schema_is_said(site):
    toml = site / "hven.toml"
    toml.write_text(toml.read_text().replace('"cubes", "Odd Name"', '"public.cubes"'))
    told = run_hven("fdw", "--apply", "--site", site, expected_code=1).stderr
    assert "there is no table public.public.cubes" in told
    assert "write 'cubes' in `tables`, without the schema; the schema is the value of `namespace`" in told
    assert (
        "write 'cubes' in `tables`, without the schema"
        in run_hven("fdw", "--check", "--site", site, expected_code=1).stdout
    )
