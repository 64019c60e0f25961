"""Values that search looks for: of views and of rows that other programs write, counted once for all processes, never those that a reader may not see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from hven.engines import Live
from hven.ingest import ingest
from hven.portal._explore import data_search, value_index
from hven.portal._explore.page_queries import Asking
from hven.portal._explore.value_files import Files
from hven.portal._explore.value_index import Index
from hven.site import Site
from hven.site.auth._permit import ANONYMOUS, DEFAULT
from hven.testing.policies import half_hidden
from hven.testing.site import site_with
from postgres import server
from running import until

STARS = """\
collection: stars
title: Stars
tables:
  main:
    source: {kind: csv, file: stars.csv}
    primary: id
    columns:
      id: {type: int32, ucd: meta.id;meta.main}
      name: {type: string}
      kind: {type: string, enum: kinds}
    enums: {kinds: {d: double star, v: variable star}}
  bright:
    view: SELECT id, name AS called, kind FROM stars.main WHERE id < 6
"""
ROWS = "id,name,kind\n" + "\n".join(f"{n},{'Algol' if n % 2 else 'Castor'},{'dv'[n % 2]}" for n in range(20))


@pytest.fixture
def site(tmp_path: Path) -> Any:
    with site_with(tmp_path, STARS, {"stars.csv": ROWS.encode()}) as made:
        ingest(made, "stars")
        made.refresh()
        yield made


def road(site: Site, policies: Any = DEFAULT) -> Asking:
    return Asking(site=site, who=ANONYMOUS, policies=policies, holdings=site.current())


def found(site: Site, words: str, policies: Any = DEFAULT) -> set[tuple[str, str, int | None]]:
    tables = [one for one in site.current().catalogue(ANONYMOUS, policies).tables() if one.schema == "stars"]
    told: list[data_search.Found] = []

    def complete() -> bool:  # views, and rows of others, are counted behind
        told[:] = [data_search.find(words, tables, road(site, policies), {}, seconds=60)]
        return not told[0].late

    until(complete)
    return {(one.table.name, one.text, one.rows) for one in told[0].values}


def test_values_of_a_view_are_those_of_its_rows(site: Site) -> None:
    assert found(site, "algol") == {("main", "Algol", 10), ("bright", "Algol", 3)}
    assert {one[1:] for one in found(site, "variable star")} == {("variable star", 10)}, "an enumeration's words are its table's"  # fmt: skip
    assert found(site, "algol", half_hidden("id")) == set(), "of a view, too, nothing is told that is hidden in what it reads"  # fmt: skip
    assert found(site, "castor", half_hidden("id")) == {("main", "Castor", 10), ("bright", "Castor", 3)}
    file = site.settings.collections / "stars/stars.csv"
    file.write_text(ROWS.replace("\n4,Castor", "\n4,Capella"))
    ingest(site, "stars")
    site.refresh()
    assert found(site, "capella") == {("main", "Capella", 1), ("bright", "Capella", 1)}, "as what it reads is published anew"  # fmt: skip


def test_a_view_of_too_many_values_is_left_alone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(value_index, "MOST", 1)
    assert {name for name, _, _ in found(site, "algol")} <= {"main"}


def test_what_one_process_counts_the_others_map(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    first = found(site, "algol")
    folder = site.settings.var / "words"
    kept = sorted(folder.glob("*.arrow"))
    assert len(kept) == 2
    assert folder.stat().st_mode & 0o077 == 0
    with Site(site.settings) as other, monkeypatch.context() as patch:
        patch.setattr(value_index, "counted", lambda *_: pytest.fail("it is counted twice"))
        assert found(other, "algol") == first
        (values, *_), _ = other.kept(Index).known([other.current().published["stars.main"].table], road(other), 1)
        assert (values.mapped, values.bytes) == (True, 2_000)
    for path in kept:
        path.write_bytes(path.read_bytes()[:100])  # a disk that failed
    with Site(site.settings) as third:
        assert found(third, "algol") == first, "what cannot be read is counted"
    file = site.settings.collections / "stars/stars.csv"
    file.write_text(ROWS.replace("\n4,Castor", "\n4,Capella"))
    ingest(site, "stars")
    site.refresh()
    found(site, "capella")
    assert len(list(folder.glob("*.arrow"))) == 2, "states of before go"
    assert not set(kept) & set(folder.glob("*.arrow"))


def test_where_nothing_can_be_written_each_counts(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("no directory")
    files = Files(tmp_path / "words")
    with files.turn(0.0) as mine:
        assert mine
        files.put("a", "b", (), {})
        assert files.get("a", "b") is None


def test_one_process_waits_for_another_one(tmp_path: Path) -> None:
    files = Files(tmp_path / "words")
    with files.turn(-1) as mine, files.turn(0.05) as other:
        assert (mine, other) == (True, False)
    with files.turn(0.0) as mine:
        assert mine


def test_what_failed_once_is_not_kept_for_others(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(value_index, "PATIENCE", 0.0)
        patch.setattr(value_index, "AGAIN", 0.0)
        found(site, "algol")
    until(lambda: ("main", "Algol", 10) in found(site, "algol"))
    with Site(site.settings) as other:
        assert ("main", "Algol", 10) in found(other, "algol")


@pytest.mark.outside
def test_values_of_a_live_table_are_found_and_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with server() as address:
        url = f"postgresql://{address}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE stars (id int PRIMARY KEY, name text)")
            connection.execute("INSERT INTO stars VALUES (1, 'Algol'), (2, 'Castor')")
            monkeypatch.setenv("OPS_DB", url)
            text = "collection: stars\ntitle: Stars\ntables:\n  main:\n    source: {kind: live, url: $OPS_DB, table: stars}\n"
            with site_with(tmp_path, text) as site:
                site.refresh()
                assert isinstance(site.current().published["stars.main"].relation, Live)
                assert found(site, "algol") == {("main", "Algol", None)}, (
                    "their number is that of now: it is on the page"
                )
                assert not list((site.settings.var / "words").glob("*.arrow")), "nothing of it is written"
                connection.execute("INSERT INTO stars VALUES (3, 'Mira')")
                assert found(site, "mira") == set()
                monkeypatch.setattr(value_index, "LIVE", 0.0)
                site.kept(Index)._kept = type(site.kept(Index)._kept)(value_index.BYTES)
                site.kept(Index)._tried.clear()
                until(lambda: found(site, "mira") == {("main", "Mira", None)})
                monkeypatch.setattr(value_index, "LARGE", -1)
                assert value_index.searched(site.current().published["stars.main"].table, road(site)) == []
