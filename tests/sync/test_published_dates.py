"""A descriptor without ``created:``: a row keeps the time at which it came, whatever happens to it or to its table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from clocks import MovableClock
from hven import query
from hven.engines.duckdb.engine import DuckEngine
from hven.ingest import _published_dates as published_dates
from hven.ingest.api.runs import ingest_collection, move_collection_to_engine
from hven.ingest.sync import sync_collection
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files
from second_engine import OTHER_NAME, register_other_engine

HEAD = """\
collection: maps
title: Maps
tables:
  epn_core:
    standard: epn-tap-2.0
    frame: body
    source: {kind: csv, files: "*.csv"}
"""
DATES = ("creation_date", "modification_date", "release_date")
HOUR = 3600.0


def write(path: Path, **classes: str) -> None:
    """Write a line for each granule: its name, and the class of its target."""
    lines = (f"{name},im,{kind},2453005.5" for name, kind in classes.items())
    path.write_text("\n".join(["granule_uid,dataproduct_type,target_class,time_min", *lines, ""]))


def dates(site: Site) -> dict[str, list[int]]:
    """Give the three dates of each granule, in hours since the first of all."""
    site.refresh_published_state()
    text = f"SELECT granule_uid, {', '.join(DATES)} FROM maps.epn_core"
    with query.run_query(text, site=site) as result:
        rows = pa.Table.from_batches(list(result.iterate_batches())).to_pylist()
    first = min(row[name] for row in rows for name in DATES)
    return {row["granule_uid"]: [round((row[name] - first).total_seconds() / HOUR) for name in DATES] for row in rows}


@pytest.fixture
def maps(tmp_path: Path) -> Iterator[tuple[Site, Path, Path]]:
    with open_site_with_uningested_files(tmp_path, HEAD, {"a.csv": ""}) as site:
        folder = tmp_path / "collections" / "maps"
        write(folder / "a.csv", a="planet", b="planet", c="planet")
        ingest_collection(site, "maps")
        yield site, folder / "a.csv", folder / "maps.yaml"


def test_an_edit_moves_the_date_of_change_alone(maps: tuple[Site, Path, Path], clock: MovableClock) -> None:
    site, path, _ = maps
    clock.move(HOUR)
    write(path, a="planet", b="asteroid", c="planet", d="planet")
    report = sync_collection(site, "maps", accept_changes=True)
    change = report.changes["maps.epn_core"]
    assert (change.added, change.changed, change.columns) == (1, 1, {"target_class": 1, "modification_date": 1})
    assert dates(site) == {"a": [0, 0, 0], "b": [0, 1, 0], "c": [0, 0, 0], "d": [1, 1, 1]}
    clock.move(HOUR)
    write(path, a="planet", b="planet", c="planet", d="planet")
    sync_collection(site, "maps", accept_changes=True)
    assert dates(site) == {"a": [0, 0, 0], "b": [0, 2, 0], "c": [0, 0, 0], "d": [1, 1, 1]}


def test_an_ingest_of_everything_keeps_what_is_known(maps: tuple[Site, Path, Path], clock: MovableClock) -> None:
    site, path, _ = maps
    clock.move(HOUR)
    write(path, a="planet", b="asteroid", d="planet")
    ingest_collection(site, "maps")
    assert dates(site) == {"a": [0, 0, 0], "b": [0, 1, 0], "d": [1, 1, 1]}


def test_a_sync_that_computes_everything_finds_no_change(maps: tuple[Site, Path, Path], clock: MovableClock) -> None:
    site, _, descriptor = maps
    sync_collection(site, "maps")
    clock.move(HOUR)
    descriptor.write_text(
        HEAD.replace("title: Maps", "title: Maps of planets")
    )  # another signature: the ledger is of no use
    site.refresh_published_state()
    report = sync_collection(site, "maps")
    assert not report.changes["maps.epn_core"].has_changes
    assert set(map(tuple, dates(site).values())) == {(0, 0, 0)}


def test_dates_move_with_the_rows_to_another_engine(tmp_path: Path, clock: MovableClock) -> None:
    with register_other_engine(), open_site_with_uningested_files(tmp_path, HEAD, {"a.csv": ""}) as site:
        folder = tmp_path / "collections" / "maps"
        write(folder / "a.csv", a="planet", b="planet")
        ingest_collection(site, "maps")
        clock.move(HOUR)
        move_collection_to_engine(site, "maps", OTHER_NAME)
        (folder / "maps.yaml").write_text(f"engine: {OTHER_NAME}\n{HEAD}")
        write(folder / "a.csv", a="planet", b="asteroid", c="planet")
        site.refresh_published_state()
        ingest_collection(site, "maps")
        assert dates(site) == {"a": [0, 0, 0], "b": [0, 1, 0], "c": [1, 1, 1]}
        clock.move(HOUR)
        write(folder / "a.csv", a="asteroid", b="asteroid", c="planet")
        sync_collection(site, "maps", accept_changes=True)
        assert dates(site) == {"a": [0, 2, 0], "b": [0, 1, 0], "c": [1, 1, 1]}


def test_a_date_of_the_descriptor_is_the_date_of_all_rows(maps: tuple[Site, Path, Path]) -> None:
    site, _, descriptor = maps
    descriptor.write_text("created: 2020-01-02\n" + HEAD)
    site.refresh_published_state()
    ingest_collection(site, "maps")
    with query.run_query("SELECT DISTINCT creation_date, modification_date, release_date FROM maps.epn_core", site=site) as result:  # fmt: skip
        (row,) = pa.Table.from_batches(list(result.iterate_batches())).to_pylist()
    assert {str(value) for value in row.values()} == {"2020-01-02 00:00:00"}


def test_an_expression_over_the_time_of_the_run_is_kept_too(tmp_path: Path, clock: MovableClock) -> None:
    text = 'collection: c\ntitle: C\ntables:\n  t:\n    source: {kind: csv, files: a.csv}\n    primary: id\n    map: {since: "\'since \' || collection.created", mixed: "name || collection.created"}\n'
    with open_site_with_uningested_files(tmp_path, text, {"a.csv": "id,name\n1,a\n"}) as site:
        ingest_collection(site, "c")
        clock.move(HOUR)
        (tmp_path / "collections" / "c" / "a.csv").write_text("id,name\n1,b\n2,b\n")
        ingest_collection(site, "c")
        site.refresh_published_state()
        with query.run_query("SELECT since, mixed FROM c.t ORDER BY id", site=site) as result:
            one, two = pa.Table.from_batches(list(result.iterate_batches())).to_pylist()
    assert one["since"] < two["since"]
    assert one["mixed"] == two["mixed"], "a value that hangs on other columns, too, is made anew"


def test_what_cannot_be_read_any_more_is_said(maps: tuple[Site, Path, Path], clock: MovableClock) -> None:
    site, _, _ = maps
    snapshot = site.store.read_published_records()[1]["maps.epn_core"].snapshot
    site.engines.find_engine(snapshot).remove_snapshot(snapshot)
    clock.move(HOUR)
    report = ingest_collection(site, "maps")
    assert any("get the dates of this run" in text for text in report.warnings), report.warnings
    assert report.published


@pytest.mark.parametrize("most", [published_dates.MAX_LOOKUP_ROWS, 0])
def test_a_few_rows_are_asked_for_and_many_are_read_once(
    maps: tuple[Site, Path, Path], clock: MovableClock, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    site, path, _ = maps
    monkeypatch.setattr(published_dates, "MAX_LOOKUP_ROWS", most)
    monkeypatch.setattr(published_dates, "MAX_LOOKUP_FRACTION", 10**9)
    readings: list[Any] = []
    read = DuckEngine.read_rows

    def count(self: DuckEngine, *arguments: Any, **named: Any) -> Any:
        readings.append(arguments)
        return read(self, *arguments, **named)

    sync_collection(site, "maps")
    monkeypatch.setattr(DuckEngine, "read_rows", count)
    clock.move(HOUR)
    write(path, a="planet", b="asteroid", c="planet")
    sync_collection(site, "maps", accept_changes=True)
    assert len(readings) == (0 if most else 1)
    assert dates(site)["b"] == [0, 1, 0]


def test_memory_for_each_row() -> None:
    """16 bytes for a row, 8 more for what it says, and 4 for each date: counted, as 10^8 rows would need it."""
    count = 200_000
    order = np.arange(count)
    few = pa.array(np.zeros(count, "i8")).cast(pa.timestamp("us")).dictionary_encode()
    rows = published_dates._PublishedRowIndex(keys=order.astype("u8"), row_positions=order, content_hashes=order.astype("u8"), dates_by_column=dict.fromkeys(DATES, few))  # fmt: skip
    used = (
        rows.keys.nbytes
        + rows.row_positions.nbytes
        + rows.content_hashes.nbytes
        + sum(one.nbytes for one in rows.dates_by_column.values())
    )
    assert used <= 36 * count + 1000
    found = rows.find_positions(order.astype("u8")[::-1])
    assert np.array_equal(found, order[::-1])
