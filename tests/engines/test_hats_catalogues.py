"""Catalogues that others wrote: served where they are, or read as rows; what is wrong with one is told, and nothing is half-adopted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hven.adql import bind, parse
from hven.adql.scope import Tables
from hven.engines import Limits
from hven.engines.hats import open as open_hats
from hven.formats import hats_layout as layout
from hven.model.errors import SourceError, StorageError
from hven.model.sky import healpix
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT64
from hven.testing.source import SourceContract

HVEN = Path(sys.executable).with_name("hven")
STARS = Table(
    schema="far",
    name="stars",
    columns=(Column(name="id", type=INT64), Column(name="ra", type=FLOAT64), Column(name="dec", type=FLOAT64), Column(name="mag", type=FLOAT64, indexed=True)),
    position=("ra", "dec"),
)  # fmt: skip


def rows(count: int = 2000) -> pa.Table:
    random = np.random.default_rng(2)
    ra, dec = random.uniform(0, 360, count), np.degrees(np.arcsin(random.uniform(-1, 1, count)))
    cells = healpix.index(29, ra, dec)
    order = cells.argsort()
    columns = {layout.CELL: cells, "id": np.arange(count), "ra": ra, "dec": dec, "mag": random.normal(15, 2, count)}
    return pa.table({name: values[order] for name, values in columns.items()})


def catalogue(directory: Path, order: int = 1, **properties: str) -> Path:
    """Write a catalogue as hats-import does, without any line of ours but the names."""
    every = rows()
    cells = every[layout.CELL].to_numpy()
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
    return engine, engine.stage(table, "a").adopt(str(where))


def asked(engine: Any, snapshot: Any, text: str) -> list[dict[str, Any]]:
    bound = bind(parse(text), Tables((STARS,)))
    execution = engine.prepare(bound).execute(bound.slots, {"far.stars": snapshot}, Limits())
    return [row for batch in execution for row in batch.to_pylist()]


def test_a_catalogue_is_served_where_it_is(tmp_path: Path) -> None:
    where = catalogue(tmp_path / "far")
    engine, snapshot = adopt(tmp_path, where)
    assert snapshot.rows == 2000
    assert not list((tmp_path / "root").rglob("*.parquet"))  # nothing was copied
    known = rows().to_pylist()
    cone = asked(engine, snapshot, "SELECT id FROM far.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(40, 10, 12)) = 1")
    from hven.model.sky import distance

    assert {row["id"] for row in cone} == {row["id"] for row in known if distance(row["ra"], row["dec"], 40, 10) <= 12}
    bright = asked(engine, snapshot, "SELECT id FROM far.stars WHERE mag < 10")
    assert {row["id"] for row in bright} == {row["id"] for row in known if row["mag"] < 10}
    assert asked(engine, snapshot, "SELECT COUNT(*) AS n FROM far.stars") == [{"n": 2000}]
    assert snapshot.statistics["mag"]["minimum"] == min(row["mag"] for row in known)
    assert engine.missing(snapshot) is None
    assert engine.verify(snapshot, None, {}).unknown
    engine.drop(snapshot)
    assert len(list(where.rglob("*.parquet"))) == 48  # theirs
    engine.close()


@pytest.mark.parametrize("how", ["cells", "order"])
def test_catalogues_without_cells_of_order_29_are_searched_by_partitions(tmp_path: Path, how: str) -> None:
    where = catalogue(tmp_path / "far", **({"hats_col_healpix_order": "19"} if how == "order" else {"hats_col_healpix": "_hipscat_index"}))  # fmt: skip
    for path in where.rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        cells = pa.array(table[layout.CELL].to_numpy() >> 20)
        pq.write_table(table.set_column(0, layout.CELL if how == "order" else "_hipscat_index", cells), path)
    engine, snapshot = adopt(tmp_path, where)
    text = "SELECT id FROM far.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(40, 10, 12)) = 1"
    from hven.model.sky import distance

    assert {row["id"] for row in asked(engine, snapshot, text)} == {row["id"] for row in rows().to_pylist() if distance(row["ra"], row["dec"], 40, 10) <= 12}  # fmt: skip
    engine.close()


def _first(where: Path) -> Path:
    return min(where.rglob("Npix=*.parquet"))


def _typed(where: Path) -> None:
    path = _first(where)
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.set_column(4, "mag", table["mag"].cast(pa.string())), path)


def _moved(where: Path) -> None:
    one, two = sorted(where.rglob("Npix=*.parquet"))[:2]
    one.write_bytes(two.read_bytes())


HARM = {
    "no catalogue": (lambda where: (where / "hats.properties").unlink(), "no HATS catalogue"),
    "a margin": (lambda where: (where / "hats.properties").write_text("dataproduct_type=margin\n"), "type 'margin'"),
    "fewer rows": (lambda where: catalogue(where, hats_nrows="3000"), "hats_nrows=3000"),
    "no partitions": (lambda where: (where / "partition_info.csv").unlink(), "cannot be read"),
    "a gap": (lambda where: _first(where).unlink(), "has no file"),
    "no Parquet": (lambda where: _first(where).write_text("PAR1"), "no readable Parquet file"),
    "an overlap": (lambda where: (where / "partition_info.csv").write_text("Norder,Npix\n1,4\n0,1\n"), "overlap"),
    "another type": (_typed, "the column mag is"),
    "other cells": (_moved, "cells that are not of its partition"),
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


def test_files_that_change_are_told_of_and_not_misread(tmp_path: Path) -> None:
    where = catalogue(tmp_path / "far")
    engine, snapshot = adopt(tmp_path, where)
    path = _first(where)
    os.utime(path, ns=(1, 1))
    assert path.name in (engine.missing(snapshot) or "")
    with pytest.raises(StorageError, match="is another one now"):
        asked(engine, snapshot, "SELECT * FROM far.stars")
    path.unlink()
    with pytest.raises(StorageError, match="is not there any more"):
        asked(engine, snapshot, "SELECT * FROM far.stars ORDER BY mag")
    engine.close()


class TestRows(SourceContract):
    """The kind as a source of rows."""

    kind = "hats"
    rows = rows().drop_columns([layout.CELL]).to_pylist()
    has_files = True

    def make(self, directory: Path) -> dict[str, Any]:
        catalogue(directory / "far")
        return {"path": "far"}


def run(site: Path, *words: str) -> Any:
    done = subprocess.run([HVEN, "--site", site, *words], capture_output=True, text=True, check=False, cwd=site)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_from_a_directory_to_an_answer(tmp_path: Path) -> None:
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
    assert "_healpix_29" not in text
    assert "pos.eq.ra;meta.main" in text
    descriptor.write_text(f"engine: hats\n{text}")
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
