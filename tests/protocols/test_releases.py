"""Releases: what was published of several collections under one label, asked for good, under the policies of now."""

from __future__ import annotations

import json
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from asgi_client import Client

from hven import query
from hven.app._server.application import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.model.errors import BindError, ConflictError, NotFoundError, ParamError, UsageError
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL, OWNER_PRINCIPAL, Principal
from hven.site.store import StateStore
from process_runner import run_hven

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DESCRIPTOR = """\
collection: {name}
title: Clusters
{more}
tables:
  main:
    source: {{kind: csv, file: rows.csv}}
    primary: id
    access: {access}
    columns:
      id: {{type: int32}}
      team: {{type: string}}
  seen:
    source: {{kind: csv, file: seen.csv}}
    keys: {{of: {{columns: id, target: main, target_columns: id}}}}
    columns:
      id: {{type: int32}}
"""
ROWS = "id,team\n1,open\n2,a\n3,b\n"


def write(place: Path, name: str = "psz2", rows: str = ROWS, access: str = "public", more: str = "") -> None:
    folder = place / "collections" / name
    folder.mkdir(parents=True, exist_ok=True)
    (place / "hven.toml").touch()
    (folder / f"{name}.yaml").write_text(DESCRIPTOR.format(name=name, access=access, more=more))
    (folder / "rows.csv").write_text(rows)
    (folder / "seen.csv").write_text("id\n1\n2\n")


@contextmanager
def site(place: Path, **said: str) -> Iterator[Site]:
    """A site whose two collections have a release R4, and psz2 newer rows."""
    for name in ("psz2", "szcat"):
        write(place, name, **said)
    with Site(settings.load_settings(place)) as made:
        for name in ("psz2", "szcat"):
            ingest_collection(made, name)
        made.store.releases.add_collection_releases("R4", ["psz2", "szcat"], "the fourth")
        write(place, rows=ROWS + "4,open\n", **said)
        ingest_collection(made, "psz2")
        made.refresh_published_state()
        yield made


def ids(here: Site, table: str, who: Principal = ANONYMOUS_PRINCIPAL, as_of: str | None = None) -> list[Any]:
    with query.run_query(f"SELECT id FROM {table} ORDER BY id", who, site=here, as_of=as_of) as result:
        return [value for batch in result.iterate_batches() for value in batch.column(0).to_pylist()]


def test_a_release_is_a_schema_and_a_moment(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        assert ids(here, "psz2.main") == [1, 2, 3, 4]
        assert ids(here, "psz2_r4.main") == [1, 2, 3]
        assert ids(here, "psz2.main", as_of="R4") == ids(here, "psz2.main", as_of="latest") == [1, 2, 3]
        assert ids(here, "szcat_r4.main", as_of=None) == [1, 2, 3]
        here.store.releases.add_collection_releases("R6.1", ["psz2"])
        here.refresh_published_state()
        assert ids(here, "psz2_r6_1.main") == ids(here, "psz2.main", as_of="latest") == [1, 2, 3, 4]
        joined = "psz2_r4.main AS a RIGHT JOIN psz2.main AS b USING (id)"
        assert ids(here, joined) == [1, 2, 3, 4]
        tables = "TAP_SCHEMA.tables WHERE schema_name LIKE 'psz2%'"
        with query.run_query(f"SELECT table_name FROM {tables}", site=here) as result:
            names = {row["table_name"] for batch in result.iterate_batches() for row in batch.to_pylist()}
        assert names == {
            f"{schema}.{table}" for schema in ("psz2", "psz2_r4", "psz2_r6_1") for table in ("main", "seen")
        }
        with query.run_query(
            "SELECT target_table FROM TAP_SCHEMA.keys WHERE from_table = 'psz2_r4.seen'", site=here
        ) as result:
            assert result.read_table().to_pylist() == [{"target_table": "psz2_r4.main"}]
        with pytest.raises(
            ParamError, match=r"szcat\.main is not part of the release R6\.1; query the table without ASOF"
        ):
            ids(here, "szcat.main", as_of="R6.1")
        client = Client(create_and_start_application(here))
        assert "psz2_r4.main" in client.get("/tap/tables").text
        assert client.get("/changes/psz2_r4.main").status == client.get("/cone/psz2_r4.main").status == 404


def test_a_name_without_a_schema_is_that_of_now(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        here.store.unpublish_collection("szcat")
        here.refresh_published_state()
        assert ids(here, "main") == [1, 2, 3, 4]
        with pytest.raises(BindError):  # who took the collection away meant its releases, too
            ids(here, "szcat_r4.main")


def test_the_rows_of_a_release_stay(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        for number in range(5, 9):
            write(tmp_path, rows=f"{ROWS}{number},x\n")
            ingest_collection(here, "psz2")
        here.engines.drop_snapshots_and_list_problems(here.store.prune_snapshots("psz2", 1))
        here.refresh_published_state()
        assert ids(here, "psz2_r4.main") == [1, 2, 3]
        here.store.releases.remove_label("R4", ["psz2"])
        here.engines.drop_snapshots_and_list_problems(here.store.prune_snapshots("psz2", 1))
        here.refresh_published_state()
        with pytest.raises(BindError):
            ids(here, "psz2_r4.main")
        assert ids(here, "szcat_r4.main") == [1, 2, 3]


def test_policies_of_now_hold_for_releases(tmp_path: Path) -> None:
    with site(tmp_path, access="\"team = 'open' or team in groups\"") as here:
        anna = Principal(name="anna", groups=frozenset({"a"}))
        for table, as_of in (("psz2_r4.main", None), ("psz2.main", "R4")):
            assert ids(here, table, as_of=as_of) == [1]
            assert ids(here, table, anna, as_of=as_of) == [1, 2]
            assert ids(here, table, OWNER_PRINCIPAL, as_of=as_of) == [1, 2, 3]
        write(tmp_path, access="\"team = 'b'\"")
        here.refresh_published_state()
        assert ids(here, "psz2_r4.main") == ids(here, "psz2.main", as_of="R4") == [3]
        write(tmp_path, access="private")
        here.refresh_published_state()
        for table, as_of in (("psz2_r4.main", None), ("psz2.main", "R4")):
            with pytest.raises(BindError, match=r"no table"):
                ids(here, table, as_of=as_of)
            assert ids(here, table, OWNER_PRINCIPAL, as_of=as_of) == [1, 2, 3]


def test_a_release_of_what_a_reader_does_not_see_is_none(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        here.store.releases.add_collection_releases("secret", ["szcat"])
        text = (tmp_path / "collections" / "szcat" / "szcat.yaml").read_text()
        (tmp_path / "collections" / "szcat" / "szcat.yaml").write_text(
            text.replace("access: public", "access: private").replace(
                "title: Clusters", "title: Clusters\naccess: private"
            )
        )
        here.refresh_published_state()
        with pytest.raises(ParamError, match="'secret' is not a time, and there is no published snapshot"):
            ids(here, "psz2.main", as_of="secret")
        with pytest.raises(BindError):
            ids(here, "szcat.main", as_of="R4")
        assert ids(here, "szcat.main", OWNER_PRINCIPAL, as_of="secret") == [1, 2, 3]


def test_labels(tmp_path: Path) -> None:
    with closing(StateStore(tmp_path)) as store:
        for label in ("latest", "", "a b", "a/b", "x" * 41, "list", "\u00fc"):
            with pytest.raises(UsageError, match="is not a valid label for a release; use at most 40 letters"):
                store.releases.add_collection_releases(label, ["psz2"])


def test_a_release_never_changes(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        with pytest.raises(ConflictError, match="psz2 already has a release 'R4'"):
            here.store.releases.add_collection_releases("r4", ["psz2"])
        with pytest.raises(NotFoundError, match="'none' has no published tables"):
            here.store.releases.add_collection_releases("R5", ["psz2", "none"])
        assert [one.label for one in here.store.releases.list_releases("psz2")] == ["R4"]
        with pytest.raises(NotFoundError, match="psz2 has no release 'R5'"):
            here.store.releases.remove_label("R5", ["psz2"])


def test_a_collection_of_the_name_of_a_release_goes_first(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        write(tmp_path, "psz2_r4", rows="id,team\n9,x\n")
        ingest_collection(here, "psz2_r4")
        assert ids(here, "psz2_r4.main") == [9]
        assert ids(here, "psz2.main", as_of="R4") == [1, 2, 3]
        assert (
            "release R4 of psz2 can be queried only with ASOF=R4: another schema is already named psz2_r4"
            in here.get_published_state().problems
        )


def test_verbs(tmp_path: Path) -> None:
    with site(tmp_path):
        pass
    assert run_hven("release", "R6", "psz2", "szcat", "--site", tmp_path).stdout.splitlines() == [
        "R6 of psz2: psz2_r6.main, psz2_r6.seen",
        "R6 of szcat: szcat_r6.main, szcat_r6.seen",
    ]
    listed = json.loads(run_hven("release", "list", "psz2", "--json", "--site", tmp_path).stdout)
    assert [(one["release"], one["schema"], one["description"]) for one in listed] == [
        ("R6", "psz2_r6", None),
        ("R4", "psz2_r4", "the fourth"),
    ]
    shown = json.loads(run_hven("release", "show", "latest", "--json", "--site", tmp_path).stdout)
    assert {(one["table"], one["rows"], one["published"]) for one in shown} == {
        ("psz2_r6.main", 4, True), ("psz2_r6.seen", 2, True), ("szcat_r6.main", 3, True), ("szcat_r6.seen", 2, True),
    }  # fmt: skip
    changed = run_hven("release", "diff", "R4", "R6", "--site", tmp_path).stdout
    assert "psz2.main: 1 added, 4 rows" in changed
    assert "szcat.main: no change, 3 rows" in changed
    assert "1 added" in run_hven("diff", "psz2.main", "R4", "--site", tmp_path).stdout
    assert "R4 of psz2" not in run_hven("release", "remove", "R4", "psz2", "--site", tmp_path).stdout
    write(tmp_path, "psz2_r7")
    again = run_hven("release", "R7", "psz2", "--site", tmp_path, expected_code=1)
    assert (
        "release R7 of psz2 would have the schema psz2_r7, but a collection already has this name; choose a different label"
        in again.stderr
    )


def test_files_of_a_release_stay_at_their_addresses(tmp_path: Path) -> None:
    write(tmp_path, more="files: ['*.txt']")
    folder = tmp_path / "collections" / "psz2"
    for name in ("same", "old", "new"):
        (folder / f"{name}.txt").write_text(name)
    with Site(settings.load_settings(tmp_path)) as here:
        ingest_collection(here, "psz2")
        here.store.releases.add_collection_releases("R4", ["psz2"])
        (folder / "psz2.yaml").write_text((folder / "psz2.yaml").read_text().replace("*.txt", "[sn]*.txt"))
        (folder / "new.txt").write_text("newer")
        ingest_collection(here, "psz2")
        here.refresh_published_state()
        client = Client(create_and_start_application(here))
        for path in ("psz2/files/old.txt", "psz2_r4/files/old.txt"):  # published no more, but a release has it
            answer = client.get(f"/collections/{path}")
            assert (answer.status, answer.text) == (200, "old")
            assert answer.headers["link"].endswith('/collections/psz2/files>; rel="latest-version"')
        assert "link" not in client.get("/collections/psz2/files/same.txt").headers
        assert client.get("/collections/psz2/files/new.txt").text == "newer"
        gone = client.get("/collections/psz2_r4/files/new.txt")
        assert gone.status == 410
        assert (
            "the file new.txt of the release 'R4' was replaced; use the new version at collections/psz2/files/new.txt"
            in gone.text
        )
        assert len(client.get("/collections/psz2_r4/files").text.splitlines()) == 3
        assert client.get("/collections/psz2/files/none.txt").status == 404


def test_the_page_of_a_table_lists_its_releases(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        here.store.releases.add_collection_releases("R6", ["psz2"])
        here.refresh_published_state()
        client = Client(create_and_start_application(here))
        now, old, new = (client.get(f"/collections/{name}/main").text for name in ("psz2", "psz2_r4", "psz2_r6"))
        assert "/collections/psz2_r4/main" in now
        assert "/collections/psz2_r6/main" in now
        assert "superseded" not in now + new
        assert "superseded" in old
        assert 'href="http://vo.example/collections/psz2_r6/main"' in old or "/collections/psz2_r6/main" in old
        (tmp_path / "collections" / "psz2" / "psz2.yaml").write_text(
            DESCRIPTOR.format(name="psz2", access="private", more="access: private")
        )
        here.refresh_published_state()
        assert {client.get(f"/collections/{name}/main").status for name in ("psz2", "psz2_r4", "psz2_r6")} == {404}
