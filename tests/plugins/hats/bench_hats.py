"""HATS (group hats): the near road - cones, rows by key, whole tables, adopting catalogues, staging - beside pyarrow and DuckDB over the same files."""

from __future__ import annotations

import itertools
import random
import resource
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench.measure import CACHE, HVEN, Journey, against, measure_seconds, median, pairs, serve_site
from bench.tapjourneys import run_wrk

ROWS, BIG = 5_000_000, 50_000_000
GROUPS = 610_000  # row groups of a manifest of 10^10 rows
MB = 1024**2


def table() -> Any:
    from hven.model.table import Column, Table
    from hven.model.types import FLOAT32, FLOAT64, INT32, INT64

    return Table(
        schema="sky",
        name="stars",
        columns=(
            Column(name="id", type=INT64),
            Column(name="ra", type=FLOAT64, unit="deg"),
            Column(name="dec", type=FLOAT64, unit="deg"),
            Column(name="mag", type=FLOAT32, indexed=True),
            *(Column(name=f"c{at}", type=FLOAT32) for at in range(5)),
            Column(name="field", type=INT32),
        ),
        primary=("id",),
        position=("ra", "dec"),
    )


def batches(rows: int) -> Iterator[pa.RecordBatch]:
    """Make stars all over the sky, denser along an equator."""
    random_ = np.random.default_rng(7)
    schema = table().arrow_schema
    for begin in range(0, rows, 500_000):
        count = min(500_000, rows - begin)
        dec = np.degrees(np.arcsin(np.clip(random_.normal(0, 0.35, count), -1, 1)))
        columns = [
            (np.arange(begin, begin + count) * 2_654_435_761) % 2**40,
            random_.uniform(0, 360, count),
            dec,
            *(random_.normal(18, 2, count).astype(np.float32) for _ in range(6)),
            random_.integers(0, 500, count).astype(np.int32),
        ]
        yield pa.RecordBatch.from_arrays([pa.array(one) for one in columns], schema=schema)


def open_engine(home: Path) -> Any:
    from hven.plugins.hats import engine as hats

    home.mkdir(parents=True, exist_ok=True)
    return hats.open(home / "snapshots", memory=4 << 30, roots=[str(home / "root")])


NEEDS = {"wrk": ("hats.http.cones",)}


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Measure them all."""
    rows = BIG if big else ROWS
    home = CACHE / f"hats-{rows}"
    shutil.rmtree(home, ignore_errors=True)
    engine = open_engine(home)
    try:
        given = list(batches(rows)) if not big else batches(rows)
        begun = time.perf_counter(), sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        staging = engine.stage_snapshot(table(), "a")
        for batch in given:
            staging.write(batch)
        snapshot = staging.finish()
        engine.note_published_snapshot(snapshot)
        took = time.perf_counter() - begun[0]
        cpu = sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - begun[1]
        del given
        yield against("hats.staging", took, 60 * rows / BIG, 1.0, unit="s", note=f"{rows:,} rows; {cpu:.1f} s of CPU")  # fmt: skip
        yield from measure_selective_queries(engine, snapshot, rows)
        yield from measure_http(home, rows)
        yield from scale(home)
        yield from adopting(home, engine)
    finally:
        engine.close()
        shutil.rmtree(home, ignore_errors=True)


def asker(engine: Any, snapshot: Any) -> Callable[..., Any]:
    from hven.adql import bind_query, parse_query
    from hven.adql.scope import StaticTableCatalogue
    from hven.engines import ExecutionLimits

    def ask(text: str) -> pa.Table:
        bound = bind_query(parse_query(text), StaticTableCatalogue([table()]))
        plan = engine.plan_query(bound)

        def call(values: Any = None) -> pa.Table:
            execution = plan.execute(
                bound.literal_values if values is None else values, {"sky.stars": snapshot}, ExecutionLimits()
            )
            return pa.Table.from_batches(execution, execution.schema)

        call.slots = bound.literal_values  # type: ignore[attr-defined]
        call.plan = plan  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]

    return ask


def measure_selective_queries(engine: Any, snapshot: Any, rows: int) -> Iterator[Journey]:
    """Measure queries that touch few row groups."""
    from hven.engines import ExecutionLimits

    ask = asker(engine, snapshot)
    cone = ask("SELECT * FROM sky.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(10.0, 20.0, 0.1)) = 1")
    places = random.Random(5)
    spots = [(places.uniform(0, 360), places.uniform(-20, 20)) for _ in range(400)]
    turn = itertools.cycle(spots)

    def query_cone() -> None:
        lon, lat = next(turn)
        cone([lon if value == 10.0 else lat if value == 20.0 else value for value in cone.slots])  # type: ignore[attr-defined]

    files = [str(engine.find_snapshot_directory(snapshot.path) / name) for name, _ in snapshot.parts]
    found = median(query_cone, 400, 50) * 1e3
    yield against("hats.cone", found, 2.0, 1.0, unit="ms", note="0.1 deg, all columns")
    plainly = _build_plain_reader(cone, turn, snapshot)
    mine, raw, ratio = pairs(lambda: _spent(query_cone, 20), lambda: _spent(plainly, 20), 15)
    yield against("hats.cone.of_pyarrow", mine * 1e3, raw * 1e3, 2.5, unit="ms", note=f"processor time of a cone, beside pyarrow that reads the same row groups; median of ratios {ratio:.2f}")  # fmt: skip
    key = ask("SELECT * FROM sky.stars WHERE id = 5")
    keys = itertools.cycle([(places.randrange(rows) * 2_654_435_761) % 2**40 for _ in range(200)])

    def row() -> None:
        if key([next(keys)] if len(key.slots) == 1 else [next(keys) if value == 5 else value for value in key.slots]).num_rows != 1:  # type: ignore[attr-defined]  # fmt: skip
            raise RuntimeError("a key was not found")

    yield against("hats.key", median(row, 200, 20) * 1e3, 5.0, 1.0, unit="ms")
    with duckdb.connect() as connection:
        names = ", ".join(f"'{name}'" for name in files)
        raw = median(lambda: connection.execute(f"SELECT * FROM read_parquet([{names}]) WHERE id = {next(keys)}").to_arrow_table(), 5, 1)  # fmt: skip
    yield against("hats.key.of_duckdb", median(row, 50, 5), raw, 0.2, unit="s", note="DuckDB over the same files")
    whole = ask(f"SELECT TOP {min(rows, 1_000_000)} * FROM sky.stars")
    plain = median(lambda: [pq.read_table(name) for name in files[: max(1, len(files) * 1_000_000 // rows)]], 5, 1)
    yield against("hats.million", median(whole, 9, 2), 0.1, 1.0, unit="s", note=f"10^6 rows of 10 columns; pyarrow takes {plain:.3f} s for files of as many")  # fmt: skip

    def first() -> None:
        execution = whole.plan.execute(whole.slots, {"sky.stars": snapshot}, ExecutionLimits())  # type: ignore[attr-defined]
        next(iter(execution))
        execution.close()

    yield against("hats.first", median(first, 20, 3) * 1e3, 10.0, 1.0, unit="ms", note="the first batch of them")


SITE = """\
collection: {engine}
title: Stars
engine: {engine}
tables:
  main:
    primary: id
    source: {{kind: parquet, files: {stars}}}
    columns:
      id: {{type: int64, ucd: meta.id;meta.main}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main}}
      mag: {{type: float32, unit: mag, indexed: true}}
      c0: float32
      c1: float32
      c2: float32
      c3: float32
      c4: float32
      field: int32
"""


def measure_http(home: Path, rows: int) -> Iterator[Journey]:
    """Measure cones of 32 clients over HTTP, beside the same table that the embedded engine keeps."""
    site, stars = home / "site", home / "stars.parquet"
    with pq.ParquetWriter(stars, table().arrow_schema) as writer:
        for batch in batches(min(rows, ROWS)):
            writer.write_batch(batch)
    for engine in ("hats", "duckdb"):
        folder = site / "collections" / engine
        folder.mkdir(parents=True)
        (folder / f"{engine}.yaml").write_text(SITE.format(engine=engine, stars=stars))
    (site / "hven.toml").write_text('[hats]\nroots = ["hats"]\n')
    for engine in ("hats", "duckdb"):
        subprocess.run([HVEN, "--site", site, "ingest", engine], check=True, capture_output=True)
    places = random.Random(6)
    spots = [(places.uniform(0, 360), places.uniform(-20, 20)) for _ in range(4000)]
    with serve_site(site) as server:
        rates: dict[str, list[float]] = {"hats": [], "duckdb": []}
        notes: list[str] = []
        for turn in range(6):
            for engine, found in rates.items():
                paths = [f"/cone/{engine}.main?RA={ra:.5f}&DEC={dec:.5f}&SR=0.1" for ra, dec in spots]
                if turn == 0:  # each worker meets each row group for the first time
                    run_wrk(f"http://127.0.0.1:{server.port}", paths, 32, 5)
                    continue
                rate, p50, p95, errors = run_wrk(f"http://127.0.0.1:{server.port}", paths, 32, 5)
                found.append(rate)
                notes.append(f"{engine} {rate:.0f}/s, p50 {p50:.1f} ms, p95 {p95:.1f}, {errors} errors")
    mine, embedded = (statistics.median(found) for found in rates.values())
    yield against("hats.http.cones", mine, 1000.0, 1.0, unit="/s", higher=True, note=f"32 clients, 0.1 deg, all columns; {'; '.join(notes)}")  # fmt: skip
    yield against("hats.http.cones.of_embedded", mine, embedded, 0.45, unit="/s", higher=True, note="beside the same table of the embedded engine, in turns: 1,000/s where that has 2,215")  # fmt: skip
    shutil.rmtree(site)
    stars.unlink()


def _spent(call: Callable[[], object], times: int) -> float:
    """Processor time of a call, in all threads."""
    begun = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - begun) / times


def _build_plain_reader(cone: Any, turn: Iterator[tuple[float, float]], snapshot: Any) -> Callable[[], object]:
    """Read the row groups of the next cone with pyarrow, which knows the footers."""
    footers: dict[str, Any] = {}

    def read() -> None:
        lon, lat = next(turn)
        values = [lon if value == 10.0 else lat if value == 20.0 else value for value in cone.slots]
        (wanted,) = cone.plan._select_row_groups_by_table(values, {"sky.stars": snapshot}).values()
        for path, groups in wanted.manifest.list_row_group_files(wanted.group_numbers):
            footer = footers.setdefault(path, pq.read_metadata(path)) if path not in footers else footers[path]
            with pq.ParquetFile(path, metadata=footer, pre_buffer=False) as file:
                file.read_row_groups(groups, use_threads=False)

    for _ in range(400):
        read()
    return read


def scale(home: Path) -> Iterator[Journey]:
    """Measure what a manifest of 10^10 rows costs: the choosing alone, beside one of few row groups."""
    from hven.adql import bind_query, parse_query
    from hven.adql.scope import StaticTableCatalogue
    from hven.plugins.hats.engine import manifest as manifests
    from hven.plugins.hats.engine.row_group_filters import RowGroupChooser, RowGroupLookupContext

    bound = bind_query(parse_query("SELECT * FROM sky.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(10.0, 20.0, 0.1)) = 1"), StaticTableCatalogue([table()]))  # fmt: skip
    choice = RowGroupChooser(bound)
    took: dict[int, float] = {}
    for count in (3_000, GROUPS):
        directory = home / f"manifest-{count}"
        directory.mkdir()
        cells = np.linspace(0, 12 * 4**29, count + 1).astype(np.int64)
        groups = pa.table(
            {
                "file": pa.array(np.arange(count) // 61, pa.int32()), "group": pa.array(np.arange(count) % 61, pa.int32()),
                "rows": pa.array(np.full(count, 16_384), pa.int32()), "bytes": pa.array(np.full(count, 600_000), pa.int64()),
                "first": cells[:-1], "last": cells[1:] - 1,
                **{f"{name}:{side}": pa.array(np.full(count, at), kind) for name, kind in (("id", pa.int64()), ("mag", pa.float64())) for side, at in (("low", 0), ("high", 9))},
            }
        )  # fmt: skip
        files = tuple(
            manifests.ManifestFile(f"dataset/{at}.parquet", 999_424, 36_600_000) for at in range(-(-count // 61))
        )
        head = manifests.ManifestHead(rows=count * 16_384, files=files, schema=table().arrow_schema.serialize().to_pybytes().hex(), position=("ra", "dec"))  # fmt: skip
        manifests.write_manifest_with_json_head(directory / manifests.MANIFEST_FILE_NAME, head, groups)
        manifest = manifests.CatalogueManifest(directory)
        asked = RowGroupLookupContext(manifest, None, bound.literal_values)
        took[count] = median(lambda asked=asked: choice.find_row_groups("sky.stars", asked), 200, 20)  # type: ignore[misc]
        size = (directory / manifests.MANIFEST_FILE_NAME).stat().st_size / MB
    yield against("hats.manifest", size, 60.0, 1.0, unit="MB", note=f"{GROUPS:,} row groups")
    yield against("hats.manifest.choosing", 1e3 * (took[GROUPS] - took[3_000]), 1.0, 1.0, unit="ms", note=f"more than with 3,000 row groups: {1e3 * took[GROUPS]:.2f} and {1e3 * took[3_000]:.2f} ms; half of a cone's 2 ms is allowed")  # fmt: skip


def adopting(home: Path, engine: Any) -> Iterator[Journey]:
    """Measure the adoption of a catalogue of many files."""
    from hven.model.sky import healpix
    from hven.plugins.hats import hats_layout

    count, where = 10_000, home / "catalogue"
    small = pa.Table.from_batches([next(batches(100))])
    for pixel in range(count):
        low, high = hats_layout.compute_cell_range(5, pixel)
        cells = pa.array(low + np.arange(100) * ((high - low) // 100))
        rows = small.add_column(0, hats_layout.CELL_COLUMN, cells)
        for name, values in zip(
            ("ra", "dec"), healpix.compute_cell_centers(29, cells), strict=True
        ):  # they are compared with the partition
            rows = rows.set_column(rows.column_names.index(name), name, pa.array(values))
        path = where / hats_layout.format_partition_path(5, pixel)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, path)
    (where / hats_layout.PARTITION_INFO_FILE).write_bytes(
        hats_layout.write_partition_info((5, pixel) for pixel in range(count))
    )
    (where / hats_layout.PROPERTIES_FILE).write_bytes(hats_layout.write_catalogue_properties("many", row_count=100 * count, position=("ra", "dec"), order=5))  # fmt: skip

    def adopt() -> None:
        engine.stage_snapshot(table(), "adopted").adopt_catalogue(str(where))

    took = measure_seconds(adopt)
    files = [str(where / hats_layout.format_partition_path(5, pixel)) for pixel in range(0, count, 20)]
    plain = measure_seconds(lambda: [pq.read_metadata(name) for name in files]) * 20
    yield against(
        "hats.adopting", took, 15.0, 1.0, unit="s", note=f"{count:,} files; their footers alone take {plain:.1f} s"
    )
