"""What a kind of source states about tables over it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from hven.descriptor import check_descriptor, load_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync._page_cache import PageCachingSource, wrap_with_page_cache
from hven.model import plugins
from hven.model.errors import DataError, Fault, TextPlace
from hven.model.resource import CollectionSpec, SourceSpec, SyncPolicy, TableSpec
from hven.model.table import Table
from hven.sources import SourceKindTraits
from hven.sources.kind_traits import (
    DEFAULT_TRAITS,
    find_source_kind_traits,
    is_made_by_queries,
    list_mirrored_site_addresses,
    list_source_queries,
)
from hven.testing.site import open_site_with_uningested_files

if TYPE_CHECKING:
    from hven.ingest._ledger import OpenedSource
    from hven.sources import Source

DESCRIPTOR = """
collection: night
title: A log
tables:
  lines:
    source: {kind: python, file: walk.py, columns: {n: int32}}
    primary: n
    columns: {n: int32}
  sums:
    source: {kind: query, adql: "SELECT n FROM night.lines"}
    primary: n
    columns: {n: int32}
"""
WALK = "def rows():\n    return iter(())\n"


def set_traits(monkeypatch: pytest.MonkeyPatch, traits: SourceKindTraits) -> None:
    monkeypatch.setattr(plugins.load_plugin("sources", "python"), "TRAITS", traits, raising=False)


def test_kinds_that_state_nothing_or_are_absent_have_the_defaults() -> None:
    assert find_source_kind_traits("xml") is DEFAULT_TRAITS
    assert find_source_kind_traits("csv").reads_local_files
    assert find_source_kind_traits("nothing") is DEFAULT_TRAITS
    assert find_source_kind_traits("files").is_followed_without_sync
    assert find_source_kind_traits("tap").is_read_by_key


def test_kinds_that_read_tables_of_the_site_state_their_queries() -> None:
    place = TextPlace()
    query = SourceSpec(kind="query", options={"adql": "SELECT 1"}, place=place)
    assert list_source_queries(query) == ["SELECT 1"]
    assert is_made_by_queries(query)
    files = SourceSpec(kind="files", options={"adql": "SELECT path FROM a.b"}, place=place)
    assert list_source_queries(files) == ["SELECT path FROM a.b"]
    assert not is_made_by_queries(files)
    assert list_source_queries(SourceSpec(kind="csv", options={"files": "a.csv"}, place=place)) == []


def test_a_table_whose_rows_come_later_is_published_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_site_with_uningested_files(tmp_path, DESCRIPTOR, {"walk.py": WALK}) as site:
        with pytest.raises(DataError, match="no row"):
            ingest_collection(site, "night")
        set_traits(monkeypatch, SourceKindTraits(starts_empty=True, is_followed_without_sync=True))
        report = ingest_collection(site, "night")
        assert {name: table.published for name, table in report.tables.items()} == {"night.lines": 0, "night.sums": 0}
        record = site.store.read_published_records()[1]["night.lines"]
        assert site.store.syncs.load_sync_state(record.id) is not None


def test_a_kind_checks_the_tables_over_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_faults(spec: TableSpec, source: SourceSpec, table: Table, collection: CollectionSpec) -> list[Fault]:
        message = f"{collection.name}.{spec.table.name} has {len(table.columns)} column from {source.options['file']}"
        return [Fault(message=message, place=source.place, remedy="add one")]

    with open_site_with_uningested_files(tmp_path, DESCRIPTOR, {"walk.py": WALK}) as site:
        path = site.settings.collections_directory / "night/night.yaml"
        assert check_descriptor(path, site.settings) == []
        set_traits(monkeypatch, SourceKindTraits(has_declared_columns=True, find_table_faults=find_faults))
        [fault] = check_descriptor(path, site.settings)
        assert (fault.message, fault.place.line) == ("night.lines has 1 column from walk.py", 6)


def test_a_kind_names_the_site_whose_table_a_table_reproduces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_site_with_uningested_files(tmp_path, DESCRIPTOR, {"walk.py": WALK}) as site:
        collection = load_descriptor(site.settings.collections_directory / "night/night.yaml", site.settings)
        assert list_mirrored_site_addresses(collection) == ()
        set_traits(
            monkeypatch, SourceKindTraits(find_mirrored_site=lambda source, table: f"https://{source.kind}/{table}")
        )
        assert list_mirrored_site_addresses(collection) == ("https://python/night.lines",)


def test_a_sync_caches_pages_of_kinds_that_answer_slowly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = SimpleNamespace(read_pages=lambda *_: iter(()))
    entry = cast("OpenedSource", SimpleNamespace(spec=SimpleNamespace(kind="python")))

    def wrap() -> object:
        return wrap_with_page_cache(cast("Source", source), entry, SyncPolicy(place=TextPlace()), tmp_path, ())

    assert wrap() is source
    set_traits(monkeypatch, SourceKindTraits(has_cached_pages=True))
    assert isinstance(wrap(), PageCachingSource)
