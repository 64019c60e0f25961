"""Catalogues that others wrote: served where they are, or read as rows; what is wrong with one is told, and nothing is half-adopted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from file_servers import ServedFiles, serve_http
from hven import query
from hven.adql import bind_query, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.engines import ExecutionLimits
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.errors import HvenError, SourceError, StorageError, StorageUnavailableError, TooLargeError
from hven.model.sky import healpix
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT64, ColumnType
from hven.plugins.hats import hats_layout
from hven.plugins.hats import web_catalogues as web_hats_catalogues
from hven.plugins.hats.engine import open as open_hats
from hven.plugins.hats.settings import HatsSettings
from hven.plugins.hats.web_catalogues import WebHatsClient
from hven.site.auth import OWNER_PRINCIPAL
from hven.sources import InPlaceCatalogueSource, SourceContext
from hven.testing.site import open_site_with_uningested_files
from hven.testing.source import SourceContract
from process_runner import run_hven

STARS = Table(
    schema="far",
    name="stars",
    columns=(Column(name="id", type=INT64), Column(name="ra", type=FLOAT64), Column(name="dec", type=FLOAT64), Column(name="mag", type=FLOAT64, indexed=True)),
    position=("ra", "dec"),
)  # fmt: skip


def rows(count: int = 2000) -> pa.Table:
    random = np.random.default_rng(2)
    ra, dec = random.uniform(0, 360, count), np.degrees(np.arcsin(random.uniform(-1, 1, count)))
    cells = healpix.compute_cell_indexes(29, ra, dec)
    order = cells.argsort()
    columns = {
        hats_layout.CELL_COLUMN: cells,
        "id": np.arange(count),
        "ra": ra,
        "dec": dec,
        "mag": random.normal(15, 2, count),
    }
    return pa.table({name: values[order] for name, values in columns.items()})


def catalogue(directory: Path, order: int = 1, **properties: str) -> Path:
    """Write a catalogue as hats-import does, without any line of ours but the names."""
    every = rows()
    cells = every[hats_layout.CELL_COLUMN].to_numpy()
    pixels = cells >> 2 * (29 - order)
    for pixel in np.unique(pixels):
        path = directory / f"dataset/Norder={order}/Dir=0/Npix={pixel}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(every.filter(pa.array(pixels == pixel)), path, row_group_size=40)
    lines = ["Norder,Npix", *(f"{order},{pixel}" for pixel in np.unique(pixels))]
    (directory / "partition_info.csv").write_text("\n".join(lines) + "\n")
    said = {"obs_collection": "far", "dataproduct_type": "object", "hats_nrows": "2000", "hats_col_ra": "ra", "hats_col_dec": "dec"}  # fmt: skip
    text = "".join(f"{key}={value}\n" for key, value in (said | properties).items())
    (directory / "hats.properties").write_text(text)
    return directory


def adopt(tmp_path: Path, where: Path, table: Table = STARS) -> tuple[Any, Any]:
    engine: Any = open_hats(tmp_path / "snapshots", memory=1 << 28, roots=[str(tmp_path / "root")])
    return engine, engine.stage_snapshot(table, "a").adopt_catalogue(str(where))


def run_on_snapshot(engine: Any, snapshot: Any, text: str) -> list[dict[str, Any]]:
    bound = bind_query(parse_query(text), StaticTableCatalogue((STARS,)))
    execution = engine.plan_query(bound).execute(bound.literal_values, {"far.stars": snapshot}, ExecutionLimits())
    return [row for batch in execution for row in batch.to_pylist()]


def test_a_catalogue_is_served_in_place(tmp_path: Path) -> None:
    where = catalogue(tmp_path / "far")
    engine, snapshot = adopt(tmp_path, where)
    assert snapshot.rows == 2000
    assert not list((tmp_path / "root").rglob("*.parquet"))  # nothing was copied
    known = rows().to_pylist()
    cone = run_on_snapshot(
        engine, snapshot, "SELECT id FROM far.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(40, 10, 12)) = 1"
    )
    from hven.model.sky import compute_angular_distance

    assert {row["id"] for row in cone} == {
        row["id"] for row in known if compute_angular_distance(row["ra"], row["dec"], 40, 10) <= 12
    }
    bright = run_on_snapshot(engine, snapshot, "SELECT id FROM far.stars WHERE mag < 10")
    assert {row["id"] for row in bright} == {row["id"] for row in known if row["mag"] < 10}
    assert run_on_snapshot(engine, snapshot, "SELECT COUNT(*) AS n FROM far.stars") == [{"n": 2000}]
    assert snapshot.statistics["mag"]["minimum"] == min(row["mag"] for row in known)
    assert engine.find_missing_or_resized_file(snapshot) is None
    assert engine.verify_snapshot(snapshot, None, {}).unknown
    engine.remove_snapshot(snapshot)
    assert len(list(where.rglob("*.parquet"))) == 48  # theirs
    engine.close()


@pytest.mark.parametrize("how", ["cells", "order"])
def test_catalogues_without_cells_of_order_29_are_searched_by_partitions(tmp_path: Path, how: str) -> None:
    where = catalogue(tmp_path / "far", **({"hats_col_healpix_order": "19"} if how == "order" else {"hats_col_healpix": "_hipscat_index"}))  # fmt: skip
    for path in where.rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        cells = pa.array(table[hats_layout.CELL_COLUMN].to_numpy() >> 20)
        pq.write_table(
            table.set_column(0, hats_layout.CELL_COLUMN if how == "order" else "_hipscat_index", cells), path
        )
    engine, snapshot = adopt(tmp_path, where)
    text = "SELECT id FROM far.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(40, 10, 12)) = 1"
    from hven.model.sky import compute_angular_distance

    assert {row["id"] for row in run_on_snapshot(engine, snapshot, text)} == {row["id"] for row in rows().to_pylist() if compute_angular_distance(row["ra"], row["dec"], 40, 10) <= 12}  # fmt: skip
    engine.close()


def _first(where: Path) -> Path:
    return min(where.rglob("Npix=*.parquet"))


def _change_column_type(where: Path) -> None:
    path = _first(where)
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.set_column(4, "mag", table["mag"].cast(pa.string())), path)


def _copy_leaf_over_another(where: Path) -> None:
    one, two = sorted(where.rglob("Npix=*.parquet"))[:2]
    one.write_bytes(two.read_bytes())


HARM = {
    "no catalogue": (lambda where: (where / "hats.properties").unlink(), "not a HATS catalogue"),
    "a margin": (lambda where: (where / "hats.properties").write_text("dataproduct_type=margin\n"), "type 'margin'"),
    "fewer rows": (lambda where: catalogue(where, hats_nrows="3000"), "hats_nrows=3000"),
    "no partitions": (lambda where: (where / "partition_info.csv").unlink(), "cannot be read"),
    "a gap": (lambda where: _first(where).unlink(), "has no file"),
    "no Parquet": (lambda where: _first(where).write_text("PAR1"), "not a readable Parquet file"),
    "an overlap": (lambda where: (where / "partition_info.csv").write_text("Norder,Npix\n1,4\n0,1\n"), "overlap"),
    "another type": (_change_column_type, "the column mag has the type"),
    "other cells": (_copy_leaf_over_another, "cells outside the partition of this file"),
}


@pytest.mark.parametrize("harm", HARM)
def test_what_is_wrong_with_a_catalogue_is_told_and_nothing_adopted(tmp_path: Path, harm: str) -> None:
    where = catalogue(tmp_path / "far")
    act, said = HARM[harm]
    act(where)
    with pytest.raises(SourceError) as fault:
        adopt(tmp_path, where)
    assert said in str(fault.value)
    assert str(where) in str(fault.value)
    assert fault.value.remedy
    assert list((tmp_path / "root" / "far.stars").iterdir()) == []


def test_changed_files_are_reported_and_not_read(tmp_path: Path) -> None:
    where = catalogue(tmp_path / "far")
    engine, snapshot = adopt(tmp_path, where)
    path = _first(where)
    os.utime(path, ns=(1, 1))
    assert path.name in (engine.find_missing_or_resized_file(snapshot) or "")
    with pytest.raises(StorageError, match="has changed"):
        run_on_snapshot(engine, snapshot, "SELECT * FROM far.stars")
    path.unlink()
    with pytest.raises(StorageError, match="no longer exists"):
        run_on_snapshot(engine, snapshot, "SELECT * FROM far.stars ORDER BY mag")
    engine.close()


class TestRows(SourceContract):
    """The kind as a source of rows."""

    kind = "hats"
    rows = rows().drop_columns([hats_layout.CELL_COLUMN]).to_pylist()
    has_files = True

    def write_source_files(self, directory: Path) -> dict[str, Any]:
        catalogue(directory / "far")
        return {"path": "far"}


def run(site: Path, *words: str) -> str:
    return run_hven("--site", site, *words, cwd=site).stdout


def test_a_directory_becomes_a_collection_that_can_be_queried(tmp_path: Path) -> None:
    """`hven new --from DIR`, in place, and moved to and fro."""
    site = tmp_path / "site"
    run(tmp_path, "init", str(site))
    where = catalogue(tmp_path / "far")
    with (site / "hven.toml").open("a") as file:
        file.write('\n[hats]\nroots = ["hats"]\n')
    run(site, "new", "far", "--from", str(where))
    descriptor = site / "collections" / "far" / "far.yaml"
    text = descriptor.read_text()
    assert "kind: hats" in text
    assert "\nengine: hats " in text
    assert "_healpix_29" not in text
    assert "pos.eq.ra;meta.main" in text
    told = run(site, "ingest", "far")
    assert "2,000" in told
    assert not list((site / "hats").rglob("*.parquet"))
    answer = json.loads(run(site, "query", "SELECT COUNT(*) AS n FROM far.main", "--format", "json"))
    assert "2000" in json.dumps(answer)
    run(site, "move", "far", "--to", "duckdb")
    run(site, "move", "far", "--to", "hats")
    assert list((site / "hats").rglob("Npix=*.parquet"))
    assert "2000" in run(site, "query", "SELECT COUNT(*) AS n FROM far.main", "--format", "json")
    assert "near" in run(site, "explain", "SELECT * FROM far.main WHERE mag < 3")
    run(site, "check")


# --- behind an address ---------------------------------------------------------------------------------------------

CONE = "SELECT id FROM far.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(40, 10, 12)) = 1"


@pytest.fixture
def file_server(tmp_path: Path) -> Iterator[ServedFiles]:
    where = catalogue(tmp_path / "far", 0)
    files = {f"/far/{path.relative_to(where)}": path.read_bytes() for path in where.rglob("*") if path.is_file()}
    files["/all/collection.properties"] = b"obs_collection=all\nhats_primary_table_url=main\n"
    files |= {f"/all/main{name.removeprefix('/far')}": body for name, body in files.items() if name.startswith("/far/")}
    with serve_http(ServedFiles(files)) as found:
        yield found


def open_far_catalogue(tmp_path: Path, address: str, **options: Any) -> tuple[Any, Any]:
    engine: Any = open_hats(tmp_path / "snapshots", memory=1 << 28, roots=[str(tmp_path / "root")], webs=WebHatsClient(allow_private=True), **options)  # fmt: skip
    return engine, engine.stage_snapshot(STARS, "a").adopt_catalogue(address)


@pytest.mark.parametrize("place", ["far", "all"])
def test_a_remote_catalogue_is_read_with_range_requests(tmp_path: Path, file_server: ServedFiles, place: str) -> None:
    engine, snapshot = open_far_catalogue(tmp_path, f"{file_server.address}/{place}")
    assert snapshot.rows == 2000
    assert engine.find_missing_or_resized_file(snapshot) is None
    (tmp_path / "local").mkdir()
    local, here = adopt(tmp_path / "local", tmp_path / "far")
    adopting, engine = engine, open_hats(tmp_path / "other", memory=1 << 28, roots=[str(tmp_path / "root")], webs=WebHatsClient(allow_private=True))  # fmt: skip
    adopting.close()  # and another process reads
    file_server.asked.clear()
    found = run_on_snapshot(engine, snapshot, CONE)
    assert found == run_on_snapshot(local, here, CONE) != []
    first = list(file_server.asked)
    assert first
    assert all("bytes=" in one and "/dataset/Norder=0/" in one for one in first)  # never a whole file, nor what it is
    file_server.asked.clear()
    assert run_on_snapshot(engine, snapshot, CONE) == found
    assert 0 < len(file_server.asked) < len(first)  # the footers are known
    everything = "SELECT * FROM far.stars ORDER BY id"
    assert run_on_snapshot(engine, snapshot, everything) == run_on_snapshot(local, here, everything)
    assert engine.verify_snapshot(snapshot, None, {}).faults == {}
    for one in (engine, local):
        one.close()


def test_a_cluster_does_not_read_addresses(tmp_path: Path, file_server: ServedFiles) -> None:
    engine, snapshot = open_far_catalogue(
        tmp_path, f"{file_server.address}/far", open_cluster=pytest.fail, near_bytes=10
    )
    with pytest.raises(TooLargeError) as fault:
        run_on_snapshot(engine, snapshot, CONE)
    assert f"{file_server.address}/far" in fault.value.remedy
    assert len(run_on_snapshot(engine, snapshot, "SELECT * FROM far.stars")) == 2000  # streamed whatever its size
    engine.close()


def _refuse_ranges(file_server: ServedFiles) -> None:
    file_server.ranges = False


def _breaking_off(file_server: ServedFiles) -> None:
    file_server.cut = 300


def _redirect_leaf(file_server: ServedFiles) -> None:
    name = min(name for name in file_server.files if name.endswith(".parquet") and name.startswith("/far"))
    file_server.moved[name] = "http://127.0.0.1:9/elsewhere.parquet"


def _lacking(file_server: ServedFiles) -> None:
    del file_server.files[
        min(name for name in file_server.files if name.endswith(".parquet") and name.startswith("/far"))
    ]


BAD = {
    "no ranges": (_refuse_ranges, "206"),
    "breaks off": (_breaking_off, "was lost"),
    "leads elsewhere": (_redirect_leaf, "redirects to another address"),
    "a gap": (_lacking, "no longer has it"),
    "nothing": (lambda there: there.files.clear(), "not a HATS catalogue"),
}


@pytest.mark.parametrize("harm", BAD)
def test_bad_servers_are_told_of_and_nothing_is_adopted(tmp_path: Path, file_server: ServedFiles, harm: str) -> None:
    act, said = BAD[harm]
    act(file_server)
    with pytest.raises(SourceError) as fault:
        open_far_catalogue(tmp_path, f"{file_server.address}/far")
    assert said in str(fault.value)
    assert file_server.address in str(fault.value)
    assert fault.value.remedy
    assert list((tmp_path / "root" / "far.stars").iterdir()) == []


def test_changed_missing_and_hanging_remote_files_are_reported(tmp_path: Path, file_server: ServedFiles, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    engine, snapshot = open_far_catalogue(tmp_path, f"{file_server.address}/far")
    file_server.tag = '"two"'
    with pytest.raises(StorageError, match="has changed") as fault:
        run_on_snapshot(engine, snapshot, CONE)
    assert "ingest the collection again" in fault.value.remedy
    assert "has changed" in (engine.find_missing_or_resized_file(snapshot) or "")
    assert len(engine.verify_snapshot(snapshot, None, {}).faults) == 12
    file_server.tag = '"one"'
    assert run_on_snapshot(engine, snapshot, CONE)
    file_server.cut = 10
    with pytest.raises(StorageUnavailableError):
        run_on_snapshot(engine, snapshot, CONE)
    file_server.cut, file_server.pause = None, 1.5
    monkeypatch.setattr(web_hats_catalogues, "IDLE_TIMEOUT_SECONDS", 0.3)
    engine.reader.web_hats_catalogues._stores.clear()  # who is asked from now on has less patience
    with pytest.raises(StorageUnavailableError, match="did not respond in time"):
        run_on_snapshot(engine, snapshot, CONE)
    file_server.pause = 0.0
    monkeypatch.undo()
    engine.reader.web_hats_catalogues._stores.clear()
    file_server.files.clear()
    with pytest.raises(StorageUnavailableError, match="no longer has it"):
        run_on_snapshot(engine, snapshot, CONE)
    engine.close()


def test_private_addresses_are_read_where_the_site_allows_it(tmp_path: Path, file_server: ServedFiles) -> None:
    engine: Any = open_hats(tmp_path / "snapshots", memory=1 << 28, roots=[str(tmp_path / "root")], webs=WebHatsClient(allow_private=False))  # fmt: skip
    with pytest.raises(SourceError, match="public internet"):
        engine.stage_snapshot(STARS, "a").adopt_catalogue(f"{file_server.address}/far")
    engine.close()


def test_rows_behind_an_address_are_those_of_the_directory(tmp_path: Path, file_server: ServedFiles) -> None:
    kind: Any = plugins.load_plugin("sources", "hats")
    here = kind.open(kind.Options(path=str(tmp_path / "far")), SourceContext())
    source = kind.open(kind.Options(path=f"{file_server.address}/all/"), SourceContext(allow_private=True))
    assert source.list_columns() == here.list_columns()
    assert source.estimate_progress_total() == here.estimate_progress_total() == 2000
    assert pa.Table.from_batches(source.read_batches()).equals(pa.Table.from_batches(here.read_batches()))
    assert pa.Table.from_batches(source.read_batches(["mag"], 100)).num_rows >= 100
    assert (
        len(set(source.list_files()["name"].to_pylist()))
        == len({pin.name for pin in source.list_input_versions()})
        == 12
    )
    assert isinstance(source, InPlaceCatalogueSource)
    file_server.files["/far/dataset/_common_metadata"] = hats_layout.write_common_metadata(
        hats_layout.build_partition_schema(STARS.arrow_schema)
    )
    file_server.asked.clear()
    told = kind.open(kind.Options(path=f"{file_server.address}/far"), SourceContext(allow_private=True))
    assert [column.name for column in told.list_columns()] == ["id", "ra", "dec", "mag"]
    assert not [
        one for one in file_server.asked if one.endswith(".parquet")
    ]  # no partition is fetched for the names of columns
    closed = kind.open(kind.Options(path=f"{file_server.address}/far", token="$T"), SourceContext(allow_private=True, resolve_secret=lambda _: "t"))  # fmt: skip
    assert not isinstance(closed, InPlaceCatalogueSource)  # its rows are read: an engine is let in nowhere


# --- columns within columns, and no numbers -------------------------------------------------------------------------


def write_nested_catalogue(directory: Path) -> tuple[Path, pa.Table]:
    """Write a catalogue as LSDB writes light curves: a struct of lists."""
    where = catalogue(directory)
    every = []
    for path in sorted(where.rglob("*.parquet")):
        table = pq.read_table(path, partitioning=None)
        lengths = table["id"].to_numpy() % 4
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
        times = pa.array(np.arange(lengths.sum(), dtype=float))
        fluxes = pa.array((np.arange(lengths.sum()) * 0.5).astype("f4"))
        curves = pa.StructArray.from_arrays([pa.ListArray.from_arrays(offsets, values) for values in (times, fluxes)], ["t", "flux"], mask=pa.array(lengths == 3))  # fmt: skip
        table = table.append_column("lc", curves)
        pq.write_table(table, path, row_group_size=40)
        every.append(table)
    return where, pa.concat_tables(every)


def test_columns_of_a_struct_are_served_as_arrays(tmp_path: Path) -> None:
    where, every = write_nested_catalogue(tmp_path / "far")
    kind: Any = plugins.load_plugin("sources", "hats")
    source = kind.open(kind.Options(path=str(where)), SourceContext())
    kinds = {column.name: column.type for column in source.list_columns()}
    assert kinds == {"id": INT64, "ra": FLOAT64, "dec": FLOAT64, "mag": FLOAT64, "lc_t": ColumnType("double", "*"), "lc_flux": ColumnType("float", "*")}  # fmt: skip
    rows = {row["id"]: row for row in every.to_pylist()}
    read = pa.Table.from_batches(source.read_batches()).to_pylist()
    table = replace(STARS, columns=tuple(source.list_columns()))
    engine, snapshot = adopt(tmp_path, where, table)
    bound = bind_query(parse_query("SELECT id, lc_t, lc_flux FROM far.stars"), StaticTableCatalogue((table,)))
    execution = engine.plan_query(bound).execute(bound.literal_values, {"far.stars": snapshot}, ExecutionLimits())
    served = [row for batch in execution for row in batch.to_pylist()]
    for found in (read, served):
        assert len(found) == len(rows)
        for row in found:
            curve = rows[row["id"]]["lc"] or {"t": None, "flux": None}
            assert (row["lc_t"], row["lc_flux"]) == (curve["t"], curve["flux"])
    bound = bind_query(parse_query("SELECT id FROM far.stars WHERE lc_flux[1] > 10"), StaticTableCatalogue((table,)))
    execution = engine.plan_query(bound).execute(bound.literal_values, {"far.stars": snapshot}, ExecutionLimits())
    bright = {row["id"] for batch in execution for row in batch.to_pylist()}
    assert bright == {ident for ident, row in rows.items() if row["lc"] and row["lc"]["flux"] and row["lc"]["flux"][0] > 10} != set()  # fmt: skip
    engine.close()


def test_nan_positions_are_counted(tmp_path: Path) -> None:
    where = catalogue(tmp_path / "far")
    path = _first(where)
    table = pq.read_table(path, partitioning=None)
    lon = np.where(np.arange(len(table)) < 3, np.nan, table["ra"].to_numpy())
    pq.write_table(table.set_column(table.column_names.index("ra"), "ra", pa.array(lon)), path)
    engine, snapshot = adopt(tmp_path, where)
    assert snapshot.statistics["ra"]["nulls"] == 3
    assert snapshot.statistics["dec"]["nulls"] == 0
    lacking = run_on_snapshot(engine, snapshot, "SELECT id FROM far.stars WHERE ra IS NULL")
    assert sorted(row["id"] for row in lacking) == sorted(table["id"].to_pylist()[:3])
    engine.close()


def test_a_site_serves_a_catalogue_behind_an_address(tmp_path: Path, file_server: ServedFiles) -> None:
    text = f"collection: far\ntitle: Stars\nengine: hats\ntables:\n  stars:\n    primary: [id]\n    source: {{kind: hats, path: '{file_server.address}/far'}}\n"
    brought = {"hats": HatsSettings(roots=("hats",))}
    with open_site_with_uningested_files(tmp_path / "open", text, brought=brought, allow_private=True) as site:
        assert "in_place" in ingest_collection(site, "far").tables["far.stars"].findings
        site.refresh_published_state()
        assert not list((tmp_path / "open" / "hats").rglob("*.parquet"))
        with query.run_query(CONE, OWNER_PRINCIPAL, site=site) as result:
            assert result.read_table().num_rows > 0
    with (
        open_site_with_uningested_files(tmp_path / "closed", text, brought=brought) as site,
        pytest.raises(HvenError, match="public internet"),
    ):
        ingest_collection(site, "far")
