"""Rows that clients push: written, published, kept, refused; by the road of every sync."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from hven import query
from hven.descriptor import check_descriptor
from hven.ingest import _disk_space as disk_space
from hven.ingest.api.runs import ingest_collection, move_collection_to_engine
from hven.ingest.sync import sync_collection
from hven.model.errors import (
    NotFoundError,
    OverloadedError,
    PreconditionFailedError,
    SourceError,
    StorageError,
    StorageUnavailableError,
    TooLargeError,
)
from hven.plugins.push import client_writes
from hven.plugins.push.client_writes import (
    LEASE_TIMEOUT_SECONDS,
    ClientWriteRequest,
    ClientWriteResult,
    KeyTakenError,
    RowsRefusedError,
)
from hven.plugins.push.push_store import ClientPush, ClientPushStore
from hven.plugins.push.store_tables import pushed
from hven.plugins.push.uploaded_rows import _parse_lists
from hven.plugins.push.write_turns import WriteTurns
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL, Principal
from hven.site.store import build_lease_name
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import build_settings, load_core_fixtures, require_core_fixtures
from postgres_cluster import run_cluster

KILLS = 60 if os.environ.get("HVEN_PROOF") == "full" else 3
ANNA = Principal(name="anna")
LOG = """
collection: night
title: A night log
tables:
  lines:
    source:
      kind: push
      columns: {id: int64, time: timestamp, observer: string, seeing: float32, note: string}
      ids: id
      writers: [anna, observers]
    primary: id
    columns:
      id: {type: int64, ucd: meta.id;meta.main}
      time: {type: timestamp, required: true}
      observer: {type: string}
      seeing: {type: float32, unit: arcsec, minimum: 0, maximum: 20}
      note: {type: string}
  nights:
    source: {kind: query, adql: "SELECT observer, COUNT(*) AS n FROM night.lines WHERE observer IS NOT NULL GROUP BY observer"}
    primary: observer
    columns: {observer: string, n: int64}
    max_rejects: 1
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_site_with_uningested_files(tmp_path, LOG) as found:
        ingest_collection(found, "night")
        yield found


def rows(
    site: Site, text: str = "SELECT id, observer, seeing, note FROM night.lines ORDER BY id"
) -> list[tuple[Any, ...]]:
    with query.run_query(text, OWNER_PRINCIPAL, site=site) as result:
        return [tuple(row.values()) for batch in result.iterate_batches() for row in batch.to_pylist()]


def send(site: Site, action: str, given: Any = None, *, table: str = "night.lines", **more: Any) -> ClientWriteResult:
    body = None
    if given is not None:
        body = site.settings.directory / "body"
        body.write_bytes(given if isinstance(given, bytes) else json.dumps(given).encode())
    return client_writes.execute_client_write(site, table, ClientWriteRequest(action=action, body=body, **more), ANNA)


def list_pushes(site: Site) -> list[ClientPush]:
    return site.store.get_or_create(ClientPushStore).list_pushes("night.lines")


def test_a_row_is_inserted_updated_and_deleted(site: Site) -> None:
    assert rows(site) == []
    made = send(site, "POST", {"time": "2026-11-23T20:00:00", "observer": "Tycho", "seeing": 1.5})
    assert (made.ids, made.rows, made.report.published) == ([1], 1, True)
    assert rows(site) == [(1, "Tycho", 1.5, None)]
    assert rows(site, "SELECT observer, n FROM night.nights") == [("Tycho", 1)], "what is made of it follows"
    changed = send(site, "PUT", {"note": "clouds", "seeing": ""}, key=("1",))
    assert (changed.ids, changed.rows) == ([1], 1)
    assert rows(site) == [(1, "Tycho", None, "clouds")], "named columns alone; empty is no value"
    assert send(site, "DELETE", key=("1",)).removed_rows == 1
    assert rows(site) == rows(site, "SELECT * FROM night.nights") == []
    assert send(site, "POST", {"time": "2026-11-23T21:00:00"}).ids == [2], "a number is given once"
    assert [(one.by, one.action, one.rows, one.removed) for one in list_pushes(site)] == [
        ("anna", "POST", 1, 0), ("anna", "DELETE", 0, 1), ("anna", "PUT", 1, 0), ("anna", "POST", 1, 0)
    ]  # fmt: skip


def test_a_table_of_two_sources(tmp_path: Path) -> None:
    both = LOG.replace(
        "    source:\n      kind: push\n", "    source:\n      - {kind: csv, files: old.csv}\n      - kind: push\n"
    )
    for line in ("columns: {id: int64", "ids: id", "writers:"):
        both = both.replace(f"      {line}", f"        {line}")
    with open_site_with_uningested_files(tmp_path, both, {"old.csv": "id,time,observer,seeing,note\n1,1999-01-01,Ole,1,a\n2,1999-01-02,Ole,2,b\n"}) as site:  # fmt: skip
        ingest_collection(site, "night")
        place = site.settings.collections_directory / "night" / "old.csv"
        place.write_text(place.read_text() + "3,1999-01-03,Ole,3,c\n")
        assert send(site, "POST", {"time": "2026-11-23", "observer": "Tycho"}).ids == [3], "behind those of the file"
        assert [one[:2] for one in rows(site)] == [(1, "Ole"), (2, "Ole"), (3, "Tycho")], "other sources are not read"
        with pytest.raises(
            NotFoundError, match="if the row comes from another source of the table, change the row in the other source"
        ):
            send(site, "PUT", {"note": "x"}, key=("1",))
        with pytest.raises(RowsRefusedError):
            send(site, "POST", {"id": 2, "time": "2026-11-23"})
        assert len(list_pushes(site)) == 1
        place.write_text("id,time,observer,seeing,note\n1,1999-01-01,Ole,7,a\n")
        assert sync_collection(site, "night", accept_changes=True).changes["night.lines"].removed == 1
        assert rows(site) == [(1, "Ole", 7.0, "a"), (3, "Tycho", None, None)]
        place.unlink()
        with pytest.raises(StorageUnavailableError, match="cannot be published at the moment"):
            send(site, "POST", {"time": "2026-11-24"})


def test_what_was_pushed_stays_whatever_is_done(site: Site, tmp_path: Path) -> None:
    for number in range(6):
        send(site, "POST", {"time": f"2026-11-{number + 1:02}", "observer": f"o{number}"})
    send(site, "DELETE", key=("3",))
    with site.store._database.begin_read() as connection:
        pieces = connection.execute(sa.select(sa.func.count()).select_from(pushed)).scalar_one()
    assert (pieces < 4, len(list_pushes(site))) == (True, 7), "small pieces are put together"
    there = rows(site)
    assert len(there) == 5
    (tmp_path / "hven.toml").write_text("")
    for again in (ingest_collection, sync_collection):
        again(site, "night")
        assert rows(site) == there
    require_core_fixtures("BACKUPS")
    backups = load_core_fixtures("BACKUPS")
    for data in (True, False):
        backups["write"](site, tmp_path / f"{data}.tar", include_rows=data)
        backups["restore"](tmp_path / f"{data}.tar", tmp_path / f"restored-{data}")
        with Site(replace(site.settings, directory=tmp_path / f"restored-{data}")) as other:
            if not data:
                ingest_collection(other, "night")
            assert rows(other) == there
            assert send(other, "POST", {"time": "2026-12-01"}).ids == [7]
    site.store.roll_back("night")
    site.refresh_published_state()
    with pytest.raises(KeyTakenError, match="on hold"):
        send(site, "POST", {"time": "2026-12-01"})


def test_columns_that_change(site: Site) -> None:
    send(site, "POST", {"time": "2026-11-23", "observer": "7", "note": "x"})
    place = site.settings.collections_directory / "night" / "night.yaml"
    place.write_text(LOG.replace("note: string}\n      ids", "note: string, moon: float64}\n      ids").replace("      note: {type: string}", "      note: {type: string}\n      moon: {type: float64}"))  # fmt: skip
    site.refresh_published_state()
    send(site, "PUT", {"moon": 0.5}, key=("1",))
    assert rows(site, "SELECT note, moon FROM night.lines") == [("x", 0.5)]
    place.write_text(LOG.replace("note: string}\n      ids", "note: int32}\n      ids").replace("note: {type: string}", "note: {type: int32}"))  # fmt: skip
    site.refresh_published_state()
    with pytest.raises(SourceError, match="the values of 'note' were pushed as string"):
        ingest_collection(site, "night")


def test_rows_that_are_left_out_are_kept(tmp_path: Path) -> None:
    with open_site_with_uningested_files(tmp_path, LOG.replace("    primary: id\n    columns:\n      id", "    primary: id\n    where: seeing < 5\n    columns:\n      id")) as site:  # fmt: skip
        ingest_collection(site, "night")
        made = send(site, "POST", {"time": "2026-11-23", "seeing": 9})
        assert (rows(site), made.report.tables["night.lines"].skipped) == ([], 1)
        send(site, "PUT", {"seeing": 2}, key=("1",))
        assert rows(site) == [(1, None, 2.0, None)]


def test_more_than_the_limits(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.settings = replace(site.settings, limits=replace(site.settings.limits, upload_rows=3))
    with pytest.raises(TooLargeError, match="at most 3 rows"):
        send(site, "POST", b"time\n" + b"2026-11-23\n" * 4, media_type="text/csv")

    def full(*_: object, **__: object) -> None:
        raise StorageError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(disk_space, "check_disk_space", full)
        with pytest.raises(StorageError, match="no space"):
            send(site, "POST", {"time": "2026-11-23"})
    assert (rows(site), list_pushes(site)) == ([], [])
    assert send(site, "POST", {"time": "2026-11-23"}).ids == [1]


def test_concurrent_writes_are_all_stored(site: Site) -> None:
    told: list[object] = []

    def work(name: str) -> None:
        for number in range(3):
            body = site.settings.directory / f"{name}{number}"
            body.write_text(json.dumps({"time": "2026-11-23", "observer": name, "seeing": number}))
            told.append(
                client_writes.execute_client_write(
                    site, "night.lines", ClientWriteRequest(action="POST", body=body), ANNA
                ).ids[0]
            )

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(map(int, map(str, told))) == list(range(1, 13))
    assert len(rows(site)) == 12
    _, state = client_writes.find_pushed_row_or_file(site, "night.lines", ("1",))
    ends: list[str] = []

    def change(value: int) -> None:
        body = site.settings.directory / f"change{value}"
        body.write_text(json.dumps({"seeing": value}))
        try:
            client_writes.execute_client_write(
                site,
                "night.lines",
                ClientWriteRequest(action="PUT", body=body, key=("1",), expected_state=f'"{state}"'),
                ANNA,
            )
            ends.append(str(value))
        except PreconditionFailedError:
            ends.append("outdated")

    threads = [threading.Thread(target=change, args=(value,)) for value in (11, 12)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    won = next(one for one in ends if one != "outdated")
    assert (sorted(ends)[1], rows(site, "SELECT seeing FROM night.lines WHERE id = 1")) == ("outdated", [(float(won),)])


def test_records_of_another_package_are_committed_with_the_rows(site: Site) -> None:
    calls = []

    def record(connection: sa.Connection, push: ClientPush) -> None:
        calls.append((connection.in_transaction(), push.answer["ids"]))

    def refuse(*_: object) -> None:
        raise PreconditionFailedError("too late")

    line = {"time": "2026-11-23", "observer": "Tycho"}
    send(site, "POST", line, on_commit=record, dry_run=True)
    assert calls == []
    with pytest.raises(PreconditionFailedError, match="too late"):
        send(site, "POST", line, on_commit=refuse)
    site.refresh_published_state()
    assert (rows(site), list_pushes(site)) == ([], []), "an error of the other package cancels the push"
    send(site, "POST", line, on_commit=record)
    send(site, "PUT", {"observer": "Tycho"}, key=("1",), on_commit=record)
    assert calls == [(True, [1]), (True, [1])], "also if the rows stay as they are"


def test_who_comes_during_an_ingest_waits(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_writes, "LEASE_TIMEOUT_SECONDS", 0.0)
    with site.store.leases.hold_lease(build_lease_name("night")), pytest.raises(OverloadedError):
        send(site, "POST", {"time": "2026-11-23"})
    assert send(site, "POST", {"time": "2026-11-23"}).ids == [1]


def test_who_writes_on_a_busy_machine_waits_longer(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    hold_lease = WriteTurns.hold_lease

    def record_wait(turns: WriteTurns, collection: str, description: str, wait_seconds: float) -> Any:
        waits.append(wait_seconds)
        return hold_lease(turns, collection, description, wait_seconds)

    monkeypatch.setattr(WriteTurns, "hold_lease", record_wait)
    for load in (0.0, 1000.0):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, load, load))
        send(site, "POST", {"time": "2026-11-23"})
    assert waits == [LEASE_TIMEOUT_SECONDS, 6 * LEASE_TIMEOUT_SECONDS]


# each child counts the calls of a push, and kills itself at one of them
CHILDREN = """
import json, os, pathlib, signal, sys, threading
from hven.plugins.push.client_writes import ClientWriteRequest, execute_client_write
from hven.model.settings import Settings
from hven.site import Site
from hven.site.auth import Principal

def work(order):
    count = [0]
    def hook(frame, event, argument):
        count[0] += 1
        if count[0] == order["kill"]:
            os.kill(os.getpid(), signal.SIGKILL)
    with Site(Settings(directory=pathlib.Path(order["site"]))) as site:
        threading.setprofile(hook)
        sys.setprofile(hook)
        write = ClientWriteRequest(action=order.get("action", "POST"), body=pathlib.Path(order["body"]), idempotency_key=order["token"], key=tuple(order["key"]) if "key" in order else None, dry_run="dry_run" in order)
        done = execute_client_write(site, order.get("table", "night.lines"), write, Principal(name="anna"))
        sys.setprofile(None)
        threading.setprofile(None)
    return {"calls": count[0], "ids": list(done.ids)}

for line in sys.stdin:
    order = json.loads(line)
    out, into = os.pipe()
    if os.fork() == 0:
        os.write(into, json.dumps(work(order)).encode())
        os._exit(0)
    os.close(into)
    with open(out, "rb") as pipe:
        text = pipe.read()
    os.wait()
    print(text.decode() or "{}", flush=True)
"""


def test_a_killed_write_leaves_no_partial_rows_and_loses_no_confirmed_ones(site: Site, tmp_path: Path) -> None:
    (tmp_path / "hven.toml").write_text("")
    body = tmp_path / "line"
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(CHILDREN)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None

        def order(kill: int, token: str) -> dict[str, Any]:
            print(json.dumps({"site": str(tmp_path), "body": str(body), "kill": kill, "token": token}), file=child.stdin, flush=True)  # fmt: skip
            return json.loads(child.stdout.readline())

        body.write_text(json.dumps([{"time": "2026-11-01", "observer": "first"}] * 2))
        calls = order(0, "first")["calls"]
        expected = 2
        for number in range(1, KILLS + 1):
            # the second half of a push is where it is staged, published and committed
            kill = calls * (KILLS + 2 * number) // (3 * KILLS + 1)
            body.write_text(json.dumps([{"time": "2026-11-02", "observer": f"o{number}"}] * 2))
            assert order(kill, f"k{number}") == {}, "it was killed"
            site.refresh_published_state()
            shown = rows(site, f"SELECT observer FROM night.lines WHERE observer = 'o{number}'")
            known = [one for one in list_pushes(site) if one.token == f"k{number}"]
            assert (len(shown), len(known)) in {(0, 0), (2, 1)}, "both, or neither"
            again = order(0, f"k{number}")
            expected += 2
            assert again["ids"] == [expected - 1, expected]
            site.refresh_published_state()
            assert len(rows(site)) == expected
            assert rows(site, "SELECT SUM(n) FROM night.nights") == [(expected,)]
        child.stdin.close()
    there = rows(site)
    sync_collection(site, "night", read_everything=True)
    assert rows(site) == there


FILES = """
collection: oidb
title: Files
files:
  - {files: "data/**/*.csv", writers: [anna]}
tables:
  lines:
    source: {kind: csv, files: "data/**/*.csv"}
    primary: [path, n]
    columns: {path: string, n: int64}
    map: {path: file.path}
"""


def test_a_killed_upload_leaves_all_new_or_all_old_files(tmp_path: Path) -> None:
    """A file is replaced, and two are sent as an archive; whoever is next at the collection undoes what was not committed."""
    (tmp_path / "hven.toml").write_text("")
    old, new = "n\n1\n", "n\n1\n2\n"
    with open_site_with_uningested_files(tmp_path, FILES, {"data/a.csv": old}) as site:
        ingest_collection(site, "oidb")
        data, spool = site.settings.collections_directory / "oidb/data", site.settings.var_directory / "spool"
        single, archive = tmp_path / "single", tmp_path / "archive"
        single.write_text(new)
        with zipfile.ZipFile(archive, "w") as packed:
            for name in "bc":
                packed.writestr(f"sub/{name}.csv", new)
        requests: tuple[dict[str, Any], ...] = (
            {"action": "PUT", "key": ["data/a.csv"], "body": str(single)},
            {"body": str(archive)},
        )

        def read_files() -> dict[str, str]:
            return {str(path.relative_to(data)): path.read_text() for path in data.rglob("*") if path.is_file()}

        def count_published_rows() -> dict[str, int]:
            site.refresh_published_state()
            return dict(rows(site, "SELECT path, COUNT(*) FROM oidb.lines GROUP BY path"))

        with subprocess.Popen([sys.executable, "-c", textwrap.dedent(CHILDREN)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:  # fmt: skip
            assert child.stdin is not None
            assert child.stdout is not None

            def order(kill: int, token: str, request: dict[str, Any]) -> dict[str, Any]:
                said = {"site": str(tmp_path), "table": "oidb.files", "kill": kill, "token": token, **request}
                print(json.dumps(said), file=child.stdin, flush=True)
                found: dict[str, Any] = json.loads(child.stdout.readline())
                return found

            noted = 0
            for number, request in enumerate(requests):
                before = read_files()
                after = before | ({"a.csv": new} if "key" in request else {"sub/b.csv": new, "sub/c.csv": new})
                calls = order(0, f"count{number}", {**request, "dry_run": True})["calls"]
                for step in range(1, KILLS):
                    order(calls * (KILLS + 4 * step) // (5 * KILLS), f"k{number}.{step}", request)
                    assert {*read_files().values()} <= {old, new}, "a file is as it was, or as it is to be"
                    noted += (left := len(list(spool.glob("*.undo"))))
                    if left and step == KILLS - 1:  # the next push meets what the one before left
                        assert order(0, f"last{number}", request)["ids"]
                        assert read_files() == after
                        assert count_published_rows() == {
                            f"data/{name}": text.count("\n") - 1 for name, text in after.items()
                        }
                    sync_collection(site, "oidb")
                    state = read_files()
                    assert state in (before, after)
                    assert count_published_rows() == {
                        f"data/{name}": text.count("\n") - 1 for name, text in state.items()
                    }
                    assert [one for one in spool.iterdir() if "oidb" in one.name] == [], "nothing is left of it"
                assert order(0, f"last{number}", request)["ids"]
                assert read_files() == after
                assert count_published_rows() == {f"data/{name}": text.count("\n") - 1 for name, text in after.items()}
            assert noted, "some were killed while files lay at their places"
            child.stdin.close()


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with run_cluster() as found:
        yield found.url


def test_rows_and_state_in_postgresql(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", database)
    settings = {
        "brought": {"postgres": build_settings("postgres", url="$KEPT")},
        "store": database.replace("://", "+psycopg://"),
    }
    with open_site_with_uningested_files(
        tmp_path, LOG.replace("title:", "engine: postgres\ntitle:"), **settings
    ) as site:
        ingest_collection(site, "night")
        assert send(site, "POST", [{"time": "2026-11-23", "observer": name} for name in "ab"]).ids == [1, 2]
        send(site, "PUT", {"seeing": 1.5, "observer": ""}, key=("1",))
        send(site, "DELETE", key=("2",))
        with pytest.raises(NotFoundError):
            send(site, "DELETE", key=("2",))
        with pytest.raises(KeyTakenError):
            send(site, "POST", {"id": 1, "time": "2026-11-23"})
        assert rows(site) == [(1, None, 1.5, None)]
        assert {record.snapshot.engine for record in site.store.read_published_records()[1].values()} == {"postgres"}
        for again in (ingest_collection, sync_collection):
            again(site, "night")
            assert rows(site) == [(1, None, 1.5, None)]
        place = site.settings.collections_directory / "night" / "night.yaml"
        place.write_text(LOG)
        move_collection_to_engine(site, "night", "duckdb")
        site.refresh_published_state()
        assert send(site, "POST", {"time": "2026-11-24", "observer": "c"}).ids == [3]
        assert rows(site) == [(1, None, 1.5, None), (3, "c", None, None)]
        assert rows(site, "SELECT observer, n FROM night.nights") == [("c", 1)]
        assert {record.snapshot.engine for record in site.store.read_published_records()[1].values()} == {"duckdb"}


def test_what_check_says_of_a_table_that_takes_rows(tmp_path: Path) -> None:
    with open_site_with_uningested_files(tmp_path, LOG) as site:
        place = site.settings.collections_directory / "night" / "night.yaml"

        def check_changed_descriptor(*changes: tuple[str, str]) -> str:
            text = LOG
            for before, after in changes:
                assert before in text
                text = text.replace(before, after, 1)
            place.write_text(text)
            return "\n".join(map(str, check_descriptor(place, site.settings)))

        assert "source" not in check_changed_descriptor()
        assert "only into tables with a primary key" in check_changed_descriptor(("    primary: id\n", ""))
        assert "ids: id is not part of the primary key" in check_changed_descriptor(("primary: id", "primary: time"))
        assert "no account is allowed to push rows" in check_changed_descriptor(
            ("      writers: [anna, observers]\n", "")
        )
        assert "'int46'" in check_changed_descriptor(("{id: int64, time: timestamp", "{id: int46, time: timestamp"))


@pytest.mark.parametrize(
    ("texts", "lists", "misfits"),
    [
        (["[1,2.5]", None, "[]"], [[1.0, 2.5], None, []], None),
        (["[1]", "[1", "x", '["a"]', "5", "[1],[2]", "null"], [[1.0], *[None] * 6], [False, *[True] * 5, False]),
    ],
)
def test_lists_in_json(texts: list[str | None], lists: list[Any], misfits: list[bool] | None) -> None:
    parsed_lists, found_misfits = _parse_lists(pa.array(texts, pa.string()), pa.list_(pa.float64()))
    assert parsed_lists.to_pylist() == lists
    assert (None if found_misfits is None else found_misfits.to_pylist()) == misfits
