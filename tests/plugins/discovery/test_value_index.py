"""Values that search looks for: of views and of rows that other programs write, counted once for all processes, never those that a reader may not see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from hven.engines import LiveRelation
from hven.ingest.api.runs import ingest_collection
from hven.plugins.discovery import data_search, value_index
from hven.plugins.discovery.value_index import ValueIndex
from hven.portal._explore.page_queries import QueryRunner
from hven.portal._explore.value_files import SharedArrayFileCache
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import require_plugins
from postgres_cluster import run_server
from process_runner import wait_until

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
    with open_site_with_uningested_files(tmp_path, STARS, {"stars.csv": ROWS.encode()}) as made:
        ingest_collection(made, "stars")
        made.refresh_published_state()
        yield made


def road(site: Site, policies: Any = DEFAULT_POLICIES) -> QueryRunner:
    return QueryRunner(
        site=site, principal=ANONYMOUS_PRINCIPAL, policies=policies, published_state=site.get_published_state()
    )


def found(site: Site, words: str, policies: Any = DEFAULT_POLICIES) -> set[tuple[str, str, int | None]]:
    tables = [
        one
        for one in site.get_published_state().get_catalogue(ANONYMOUS_PRINCIPAL, policies).iterate_tables()
        if one.schema == "stars"
    ]
    told: list[data_search.DataSearchResult] = []

    def complete() -> bool:  # views, and rows of others, are counted behind
        told[:] = [data_search.search_data(words, tables, road(site, policies), {}, count_seconds=60)]
        return not told[0].is_incomplete

    wait_until(complete)
    return {(one.table.name, one.text, one.row_count) for one in told[0].values}


def test_values_of_a_view_are_those_of_its_rows(site: Site) -> None:
    assert found(site, "algol") == {("main", "Algol", 10), ("bright", "Algol", 3)}
    assert {one[1:] for one in found(site, "variable star")} == {("variable star", 10)}, "an enumeration's words are its table's"  # fmt: skip
    assert found(site, "algol", build_odd_rows_hidden_policies("id")) == set(), "of a view, too, nothing is told that is hidden in what it reads"  # fmt: skip
    assert found(site, "castor", build_odd_rows_hidden_policies("id")) == {
        ("main", "Castor", 10),
        ("bright", "Castor", 3),
    }
    file = site.settings.collections_directory / "stars/stars.csv"
    file.write_text(ROWS.replace("\n4,Castor", "\n4,Capella"))
    ingest_collection(site, "stars")
    site.refresh_published_state()
    assert found(site, "capella") == {("main", "Capella", 1), ("bright", "Capella", 1)}, "as what it reads is published anew"  # fmt: skip


def test_a_view_of_too_many_values_is_left_alone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(value_index, "MAX_COLUMN_VALUES", 1)
    assert {name for name, _, _ in found(site, "algol")} <= {"main"}


def test_what_one_process_counts_the_others_map(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    first = found(site, "algol")
    folder = site.settings.var_directory / "words"
    kept = sorted(folder.glob("*.arrow"))
    assert len(kept) == 2
    assert folder.stat().st_mode & 0o077 == 0
    with Site(site.settings) as other, monkeypatch.context() as patch:
        patch.setattr(value_index, "index_table_values", lambda *_: pytest.fail("it is counted twice"))
        assert found(other, "algol") == first
        (values, *_), _ = other.get_or_create(ValueIndex).find_values(
            [other.get_published_state().tables_by_name["stars.main"].table], road(other), 1
        )
        assert (values.is_mapped, values.memory_bytes) == (True, 2_000)
    for path in kept:
        path.write_bytes(path.read_bytes()[:100])  # a disk that failed
    with Site(site.settings) as third:
        assert found(third, "algol") == first, "what cannot be read is counted"
    file = site.settings.collections_directory / "stars/stars.csv"
    file.write_text(ROWS.replace("\n4,Castor", "\n4,Capella"))
    ingest_collection(site, "stars")
    site.refresh_published_state()
    found(site, "capella")
    assert len(list(folder.glob("*.arrow"))) == 2, "states of before go"
    assert not set(kept) & set(folder.glob("*.arrow"))


def test_where_nothing_can_be_written_each_counts(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("no directory")
    files = SharedArrayFileCache(tmp_path / "words")
    with files.wait_for_counting_lock(0.0) as mine:
        assert mine
        files.write_arrays_and_remove_old_files("a", "b", (), {})
        assert files.read_arrays("a", "b") is None


def test_one_process_waits_for_another_one(tmp_path: Path) -> None:
    files = SharedArrayFileCache(tmp_path / "words")
    with files.wait_for_counting_lock(-1) as mine, files.wait_for_counting_lock(0.05) as other:
        assert (mine, other) == (True, False)
    with files.wait_for_counting_lock(0.0) as mine:
        assert mine


def test_what_failed_once_is_not_kept_for_others(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(value_index, "COLUMN_TIMEOUT_SECONDS", 0.0)
        patch.setattr(value_index, "RETRY_SECONDS", 0.0)
        found(site, "algol")
    wait_until(lambda: ("main", "Algol", 10) in found(site, "algol"))
    with Site(site.settings) as other:
        assert ("main", "Algol", 10) in found(other, "algol")


@pytest.mark.outside
def test_values_of_a_live_table_are_found_and_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_plugins("sources", "live")
    with run_server() as address:
        url = f"postgresql://{address}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE stars (id int PRIMARY KEY, name text)")
            connection.execute("INSERT INTO stars VALUES (1, 'Algol'), (2, 'Castor')")
            monkeypatch.setenv("OPS_DB", url)
            text = "collection: stars\ntitle: Stars\ntables:\n  main:\n    source: {kind: live, url: $OPS_DB, table: stars}\n"
            with open_site_with_uningested_files(tmp_path, text) as site:
                site.refresh_published_state()
                assert isinstance(site.get_published_state().tables_by_name["stars.main"].relation, LiveRelation)
                assert found(site, "algol") == {("main", "Algol", None)}, (
                    "their number is that of now: it is on the page"
                )
                assert not list((site.settings.var_directory / "words").glob("*.arrow")), "nothing of it is written"
                connection.execute("INSERT INTO stars VALUES (3, 'Mira')")
                assert found(site, "mira") == set()
                monkeypatch.setattr(value_index, "LIVE_CACHE_SECONDS", 0.0)
                site.get_or_create(ValueIndex)._values = type(site.get_or_create(ValueIndex)._values)(
                    value_index.MAX_CACHE_BYTES
                )
                site.get_or_create(ValueIndex)._tried_states.clear()
                wait_until(lambda: found(site, "mira") == {("main", "Mira", None)})
                monkeypatch.setattr(value_index, "MAX_LIVE_ROWS", -1)
                assert (
                    value_index.list_searched_columns(
                        site.get_published_state().tables_by_name["stars.main"].table, road(site)
                    )
                    == []
                )
