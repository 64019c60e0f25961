"""The far road against Spark itself: plain SQL over the same files on the same cluster of two workers, in the same run. Needs Spark (scripts/judges) and Java."""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench.measure import Journey, against

from hven.adql import bind_query, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.engines import ExecutionLimits, MemoryRelation, QueryExecution
from hven.engines._row_preparation import compute_position_keys
from hven.model.errors import OperationCancelledError
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT64
from hven.plugins.spark.cluster import SparkCluster
from hven.plugins.spark.cluster_plan import SparkClusterPlan
from hven.plugins.spark.spark_connect import iterate_answer_batches

NEEDS: dict[str, tuple[str, ...]] = {"java": (), "pytest": ()}
POINTS = Table(
    schema="sky", name="points", position=("ra", "dec"),
    columns=(Column(name="id", type=INT64), Column(name="ra", type=FLOAT64), Column(name="dec", type=FLOAT64), Column(name="mag", type=FLOAT64), Column(name="band", type=INT64)),
)  # fmt: skip
OBJECTS = Table(
    schema="TAP_UPLOAD",
    name="objects",
    columns=(Column(name="n", type=INT64), Column(name="ra", type=FLOAT64), Column(name="dec", type=FLOAT64)),
)
FILES = 16
#: Name -> ADQL, and the SQL that somebody would write for Spark; r is the table, o the upload.
WORK = {
    "groups": ("SELECT band, COUNT(*) AS n, AVG(mag) AS m FROM sky.points GROUP BY band", "SELECT band, count(*) AS n, avg(mag) AS m FROM r GROUP BY band"),
    "cells": ("SELECT IVO_HEALPIX_INDEX(4, ra, dec) AS c, COUNT(*) AS n FROM sky.points GROUP BY IVO_HEALPIX_INDEX(4, ra, dec)", "SELECT shiftright(_healpix_29, 50) AS c, count(*) AS n FROM r GROUP BY shiftright(_healpix_29, 50)"),
    "top": ("SELECT TOP 10 id, mag FROM sky.points ORDER BY mag", "SELECT id, mag FROM r ORDER BY mag LIMIT 10"),
    "filter": ("SELECT COUNT(*) AS n FROM sky.points WHERE mag < 3 AND band > 400", "SELECT count(*) AS n FROM r WHERE mag < 3 AND band > 400"),
    "match": (
        "SELECT a.id, b.n FROM sky.points AS a JOIN TAP_UPLOAD.objects AS b ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < 0.0003",
        "SELECT a.id, b.n FROM r AS a JOIN o AS b ON shiftright(a._healpix_29, 30) = b.`hven cell` AND 2 * asin(sqrt(pow(sin(radians(a.dec - b.dec) / 2), 2) + cos(radians(a.dec)) * cos(radians(b.dec)) * pow(sin(radians(a.ra - b.ra) / 2), 2))) < radians(0.0003D)",
    ),
}  # fmt: skip


def write(directory: Path, rows: int) -> list[str]:
    """Write a catalogue of random positions."""
    generator = np.random.default_rng(7)
    ra, dec = generator.uniform(0, 360, rows), np.degrees(np.arcsin(generator.uniform(-1, 1, rows)))
    table = pa.table({"id": np.arange(rows), "ra": ra, "dec": dec, "mag": generator.uniform(0, 20, rows), "band": generator.integers(0, 500, rows)})  # fmt: skip
    table = table.add_column(0, "_healpix_29", pa.array(compute_position_keys(table["ra"], table["dec"]))).sort_by("_healpix_29")  # fmt: skip
    paths = []
    for number in range(FILES):
        path = directory / f"Npix={number}.parquet"
        pq.write_table(table.slice(number * rows // FILES, rows // FILES), path, compression="zstd", row_group_size=16_384)  # fmt: skip
        paths.append(str(path))
    return paths


def measure_pair(ours: Callable[[], object], theirs: Callable[[], object], times: int) -> tuple[float, float, float]:
    """Measure two calls in turn; median seconds of each, and the median of their ratios."""
    ours(), theirs(), ours(), theirs()
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        ours()
        middle = time.perf_counter()
        theirs()
        found.append((middle - begin, time.perf_counter() - middle))
    return (
        statistics.median(a for a, _ in found),
        statistics.median(b for _, b in found),
        statistics.median(a / b for a, b in found),
    )


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Measure."""
    folder = Path(__file__).parent
    sys.path[:0] = [str(folder), str(folder.parents[1])]
    from spark_cluster import run_cluster

    from hven.plugins.spark.cluster_plan import _assign_memory_rows_to_cells

    rows = 50_000_000 if big else 4_000_000
    generator = np.random.default_rng(8)
    with tempfile.TemporaryDirectory() as name, run_cluster() as spark:
        files = {"sky.points": write(Path(name), rows)}
        chosen = generator.integers(0, rows // FILES, 5_000)
        some = pq.read_table(files["sky.points"][3]).take(pa.array(chosen))
        objects = pa.table({"n": np.arange(5_000), "ra": pa.array(some["ra"].to_numpy() + 1e-5), "dec": some["dec"]})
        far = SparkCluster(spark.url)
        session = far.get_session()
        columns = {"_healpix_29": "BIGINT", "id": "BIGINT", "ra": "DOUBLE", "dec": "DOUBLE", "mag": "DOUBLE", "band": "BIGINT"}  # fmt: skip

        def prepare_query(text: str, paths: dict[str, list[str]]) -> Callable[[], int]:
            bound = bind_query(parse_query(text), StaticTableCatalogue([POINTS, OBJECTS]))
            plan = SparkClusterPlan(far, bound)
            memory = {"TAP_UPLOAD.objects": MemoryRelation(objects)}
            return lambda: sum(
                batch.num_rows
                for batch in plan.execute(bound.literal_values, memory, ExecutionLimits(row_limit=10**6), paths)
            )

        def plain(text: str, paths: list[str]) -> Callable[[], int]:
            views = {"r": session.create_file_relation(columns, paths)}
            if " o " in text:
                match = next(
                    iter(
                        SparkClusterPlan(
                            far, bind_query(parse_query(WORK["match"][0]), StaticTableCatalogue([POINTS, OBJECTS]))
                        ).spark_query.spread_matches.values()
                    )
                )
                views["o"] = session.create_row_relation(
                    _assign_memory_rows_to_cells(objects, match, np.full(objects.num_rows, 0.0003))
                )
            return lambda: sum(
                batch.num_rows
                for batch in iterate_answer_batches(
                    session.execute_relation(session.create_sql_relation(text, {}, views))
                )
            )

        for work, (adql, sql) in WORK.items():
            if only in f"hats.far.{work}":
                ours, theirs = prepare_query(adql, files), plain(sql, files["sky.points"])
                assert ours() == theirs()
                took, raw, ratio = measure_pair(ours, theirs, 7)
                yield Journey(name=f"hats.far.{work}", value=took, unit="s", reference=raw, ratio=ratio, target=1.15, note=f"{rows:,} rows; Spark's own time for the SQL")  # fmt: skip
        if only in "hats.far.overhead":
            one = {"sky.points": files["sky.points"][:1]}
            took, raw, _ = measure_pair(prepare_query("SELECT MAX(mag) AS m FROM sky.points", one), plain("SELECT max(mag) AS m FROM r", one["sky.points"]), 25)  # fmt: skip
            yield against("hats.far.overhead", 1e3 * (took - raw), 30.0, 1.0, unit="ms", note=f"one file: {1e3 * took:.0f} ms, Spark's own {1e3 * raw:.0f}")  # fmt: skip
        if only in "hats.far.cancel":
            yield measure_cancellation(far, files, spark)
        far.close()


def measure_cancellation(far: SparkCluster, files: dict[str, list[str]], spark: object) -> Journey:
    """Measure how long a cancelled query keeps the cluster: until a short one is answered, which alone takes `short`."""
    bound = bind_query(parse_query("SELECT SUM(SQRT(a.mag + b.mag)) AS s FROM sky.points AS a JOIN sky.points AS b ON a.band = b.band"), StaticTableCatalogue([POINTS]))  # fmt: skip
    small = bind_query(parse_query("SELECT MAX(mag) AS m FROM sky.points"), StaticTableCatalogue([POINTS]))
    quick = SparkClusterPlan(far, small)
    one = {"sky.points": files["sky.points"][:1]}
    list(quick.execute(small.literal_values, {}, ExecutionLimits(), one))
    begin = time.perf_counter()
    list(quick.execute(small.literal_values, {}, ExecutionLimits(), one))
    short = time.perf_counter() - begin
    execution = SparkClusterPlan(far, bound).execute(bound.literal_values, {}, ExecutionLimits(), files)
    thread = threading.Thread(target=lambda: _drain_cancelled_query(execution))
    thread.start()
    threading.Event().wait(4)
    begin = time.perf_counter()
    execution.cancel()
    list(quick.execute(small.literal_values, {}, ExecutionLimits(), one))
    took = time.perf_counter() - begin - short
    thread.join()
    return against("hats.far.cancel", took, 1.0, 1.0, unit="s", note="until the next query has the cluster for itself")


def _drain_cancelled_query(execution: QueryExecution) -> None:
    with contextlib.suppress(OperationCancelledError):
        list(execution)
