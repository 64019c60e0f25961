"""A store that machines share, on PostgreSQL: restarts, clocks, other versions, the data directory that belongs to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from hven.model.errors import ConflictError, HvenError, StorageError
from hven.model.settings import Settings
from hven.site import Site
from hven.site.store import StateStore
from hven.site.store import _database as db
from hven.site.store._database import STATE_FORMAT
from postgres_cluster import find_programs, run_server
from process_runner import Server, run_hven, serve_site, wait_until
from star_descriptors import write_stars_descriptor

pytestmark = pytest.mark.outside


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with run_server() as found:
        yield f"postgresql+psycopg://{found}"


@pytest.fixture
def url(address: str) -> str:
    engine = sa.create_engine(address)
    with engine.begin() as connection:
        db.metadata.drop_all(connection)
    engine.dispose()
    return address


def pg_ctl(url: str, *words: str) -> None:
    """Stop or start the server that an address leads to."""
    directory = url.partition("host=")[2]
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    line = [
        *prefix,
        str(find_programs() / "pg_ctl"),
        "-D",
        f"{directory}/data",
        "-w",
        "-t",
        "150",
        "-l",
        f"{directory}/log",
        *words,
    ]
    line += ["-o", f"-c listen_addresses= -c unix_socket_directories={directory} -c fsync=off -c max_connections=40"]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=180)


def test_a_restart_is_survived_and_told_in_plain_words(tmp_path: Path, url: str) -> None:
    store = StateStore(tmp_path, url)
    version = store.get_version()
    lease = store.leases.acquire_lease("x")
    pg_ctl(url, "stop", "-m", "fast")
    try:
        for ask in (
            store.get_version,
            store.read_published_records,
            lambda: store.leases.renew_lease(lease),
            store.jobs.claim_job,
        ):
            with pytest.raises(
                StorageError, match=r"does not respond: .*start PostgreSQL; then Hven continues automatically"
            ):
                ask()
        with pytest.raises(StorageError, match="does not respond"):
            StateStore(tmp_path, url)
    finally:
        pg_ctl(url, "start")
    assert store.get_version() == version
    assert store.leases.renew_lease(lease).name == "x"
    store.close()


def test_leases_are_timed_by_the_clock_of_the_database(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = StateStore(tmp_path, url), StateStore(tmp_path, url)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 7200)  # the clock of this machine is two hours ahead
    one.leases.acquire_lease("x", duration_seconds=60)
    monkeypatch.setattr(time, "time", lambda: real() - 7200)
    with pytest.raises(ConflictError):
        two.leases.acquire_lease("x")
    assert [lease.name for lease in two.leases.list_leases()] == ["x"]
    with one._database.begin_write() as connection:
        connection.execute(sa.update(db.leases).values(expires=db.read_shared_clock(connection) - 1))
    two.leases.acquire_lease("x")
    one.close()
    two.close()


def test_who_stalls_in_a_transaction_does_not_stop_the_others(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "LOCK_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setitem(
        db.POSTGRES_OPTIONS, "options", "-c lock_timeout=300 -c idle_in_transaction_session_timeout=1000"
    )
    one, two = StateStore(tmp_path, url), StateStore(tmp_path, url)
    with one._database.engine.connect() as stalled:
        stalled.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))  # it stalls as long as this takes
        stalled.execute(sa.text(f"SELECT pg_advisory_xact_lock({db.WRITER_LOCK_KEY}, hashtext(current_schema()))"))
        with pytest.raises(HvenError, match="has been busy"):
            two.leases.acquire_lease("x")
        stalled.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout TO DEFAULT"))
        wait_until(lambda: _can_take_lease(two))
        stalled.invalidate()
    one.close()
    two.close()


def _can_take_lease(store: StateStore) -> bool:
    try:
        store.leases.release_lease(store.leases.acquire_lease("x"))
    except HvenError:
        return False
    return True


def test_a_process_of_another_version_writes_nothing_more(tmp_path: Path, url: str) -> None:
    for store in (StateStore(tmp_path, url), StateStore(tmp_path)):
        version = store.get_version()
        lease = store.leases.acquire_lease("x")
        with store._database.engine.begin() as connection:  # a newer Hven upgrades what this one uses
            connection.execute(sa.update(db.meta).where(db.meta.c.key == "format").values(value=str(STATE_FORMAT + 1)))
            connection.execute(sa.delete(db.meta).where(db.meta.c.key == db.OLDEST_FORMAT_KEY))
        for ask in (
            store.get_version,
            store.jobs.get_phase_change_count,
            lambda store=store, lease=lease: store.leases.release_lease(lease),
        ):
            with pytest.raises(
                StorageError,
                match=f"{STATE_FORMAT + 1}; this process supports format {STATE_FORMAT}; run the same version of Hven "
                "on all machines",
            ):
                ask()
        with store._database.engine.begin() as connection:
            connection.execute(sa.update(db.meta).where(db.meta.c.key == "format").values(value=str(STATE_FORMAT)))
        assert store.get_version() == version
        store.close()


def test_a_store_belongs_with_one_data_directory(tmp_path: Path, url: str) -> None:
    def open_and_close(name: str, data: str | None) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        Site(Settings(directory=tmp_path / name, store=url, data=data)).close()

    open_and_close("a", str(tmp_path / "shared"))
    open_and_close("b", str(tmp_path / "shared"))
    with pytest.raises(
        StorageError,
        match=r"does not contain the site's data; set `data` in hven\.toml to the directory that all machines of this site",
    ):
        open_and_close("c", None)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".hven-data").write_text("0123\n")
    with pytest.raises(StorageError, match="contains different data"):
        open_and_close("a", str(tmp_path / "other"))


# --- two servers -----------------------------------------------------------------------------------------------


@pytest.fixture
def machines(tmp_path: Path, url: str) -> tuple[Path, Path]:
    """Make two sites with their own var/, one store and one data directory; the second runs no jobs."""
    (tmp_path / "stars.csv").write_text(
        "id,ra,dec\n" + "".join(f"{number},{number % 360},{number % 90}\n" for number in range(20_000))
    )
    found = []
    for name, workers in (("one", 1), ("two", 0)):
        site = tmp_path / name
        run_hven("init", site)
        file = site / "hven.toml"
        more = f'store = "$STORE"\ndata = "{tmp_path / "shared"}"\njob_workers = {workers}\n'
        file.write_text(more + file.read_text())
        (site / "secrets.toml").write_text(f'STORE = "{url}"\n')
        found.append(site)
    write_stars_descriptor(found[0], tmp_path / "stars.csv")
    shutil.copytree(found[0] / "collections", found[1] / "collections", dirs_exist_ok=True)
    return found[0], found[1]


def start_query_job(there: Server, query: str) -> str:
    status, headers, body = there.post("/tap/async", LANG="ADQL", QUERY=query, PHASE="RUN", RESPONSEFORMAT="json")
    assert status == 303, body
    return headers["location"].removeprefix(there.url)


@pytest.mark.slow
def test_two_servers_share_jobs_leases_and_holdings(machines: tuple[Path, Path], url: str) -> None:
    one, two = machines
    with serve_site(one) as first, serve_site(two) as second:
        run_hven("ingest", "stars", "--site", one)
        for there in (first, second):
            wait_until(
                lambda there=there: (
                    there.post("/tap/sync", LANG="ADQL", QUERY="SELECT COUNT(*) AS n FROM stars.main")[0] == 200
                )
            )
            assert there.rows("SELECT COUNT(*) AS n FROM stars.main") == [[20000]]

        # asked of the second, run by the first, told by both, and once
        jobs = [
            start_query_job(second, f"SELECT COUNT(*) AS n FROM stars.main WHERE id > {number}") for number in range(20)
        ]
        for number, job in enumerate(jobs):
            wait_until(lambda job=job: second.get(f"{job}/phase")[2] == b"COMPLETED")
            for there in (first, second):
                status, _, body = there.get(f"{job}/results/result")
                assert (status, json.loads(body)["data"]) == (200, [[20000 - number - 1]])
        store = StateStore(one / "var", url)
        assert {store.jobs.get_job(job.rpartition("/")[2]).attempts for job in jobs} == {1}

        with store.leases.hold_lease("ingest stars", description="the ingest of stars"):
            assert "is already running: process" in run_hven("ingest", "stars", "--site", two, expected_code=1).stderr
        run_hven("ingest", "stars", "--site", two)
        assert first.rows("SELECT COUNT(*) AS n FROM stars.main") == [[20000]]
        store.close()


@pytest.mark.slow
def test_a_restart_of_the_database_under_two_servers(machines: tuple[Path, Path], url: str) -> None:
    one, two = machines
    run_hven("ingest", "stars", "--site", one)
    with serve_site(one) as first, serve_site(two) as second:
        pg_ctl(url, "stop", "-m", "immediate")
        try:
            # what is published goes on being served from what was seen last
            assert first.rows("SELECT COUNT(*) AS n FROM stars.main") == [[20000]]
            status, _, body = second.post(
                "/tap/async", LANG="ADQL", QUERY="SELECT 1 AS one FROM stars.main", PHASE="RUN"
            )
            assert status >= 500
            assert b"Traceback" not in body
        finally:
            pg_ctl(url, "start")
        job = start_query_job(second, "SELECT COUNT(*) AS n FROM stars.main")
        wait_until(lambda: second.get(f"{job}/phase")[2] == b"COMPLETED")
