"""The storage spike behind docs/decisions/001-storage.md: Arrow IPC snapshots against DuckDB's own file, the same work on both.

python bench/spike_storage.py [--rows 2500000] [--wide 150000] [--directory DIR] [--repeat 7] [--batch 131072]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from cdshealpix import cdshealpix as rust

DEGREE = np.pi / 180


def healpix(lon, lat):
    import astropy.units as u
    from astropy.coordinates import Latitude, Longitude
    from cdshealpix.nested import lonlat_to_healpix

    return lonlat_to_healpix(Longitude(lon, u.deg), Latitude(lat, u.deg), 29).astype(np.int64)


def stars(rows, start, rng, step=2_500_000):
    """Batches of `step` stars in HEALPix order: bucket by bucket so that any size fits in memory."""
    lon, lat = rng.uniform(0, 360, rows), np.degrees(np.arcsin(rng.uniform(-1, 1, rows)))
    index = healpix(lon, lat)
    order = np.argsort(index)
    lon, lat, index = lon[order], lat[order], index[order]
    for low in range(0, rows, step):
        n = min(step, rows - low)
        part = slice(low, low + n)
        hip = pa.array(rng.integers(1, 120_000, n).astype(np.int32), mask=rng.random(n) < 0.95)
        yield (
            index[part],
            pa.table(
                {
                    "id": (np.arange(n) + low + start).astype(np.int64),
                    "ra": lon[part],
                    "dec": lat[part],
                    "pmra": rng.normal(0, 20, n),
                    "pmdec": rng.normal(0, 20, n),
                    "mag": rng.uniform(5, 15, n).astype(np.float32),
                    "bv": pa.array(rng.normal(0.6, 0.3, n).astype(np.float32), mask=rng.random(n) < 0.1),
                    "hip": hip,
                }
            ),
        )


def wide(rows, rng):
    """250 columns: half floats with nulls, strings, integers, timestamps, small arrays, columns of nothing but nulls."""
    columns = {
        "id": np.arange(rows),
        "ra": rng.uniform(0, 360, rows),
        "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, rows))),
    }
    words = np.array([f"target {i:05d}" for i in range(5000)])
    for i in range(247):
        kind = i % 8
        if kind < 3:
            columns[f"f{i}"] = pa.array(rng.normal(size=rows), mask=rng.random(rows) < 0.3)
        elif kind == 3:
            columns[f"i{i}"] = pa.array(rng.integers(0, 1000, rows).astype(np.int32), mask=rng.random(rows) < 0.3)
        elif kind in {4, 5}:
            columns[f"s{i}"] = pa.array(words[rng.integers(0, 5000, rows)], mask=rng.random(rows) < 0.3)
        elif kind == 6:
            columns[f"t{i}"] = pa.array(rng.integers(0, 10**15, rows)).cast(pa.timestamp("us"))
        else:
            columns[f"n{i}"] = (
                pa.nulls(rows, pa.float64())
                if i % 16 == 7
                else pa.FixedSizeListArray.from_arrays(pa.array(rng.normal(size=2 * rows)), 2)
            )
    table = pa.table(columns)
    index = healpix(columns["ra"], columns["dec"])
    order = np.argsort(index)
    return index[order], table.take(pa.array(order))


def clock(work, repeat):
    work()
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1000


def drain(reader):
    return sum(batch.num_rows for batch in reader)


def measure(title, con, name, repeat, queries):
    figures = {}
    for what, sql in queries.items():
        text = sql.format(t=name)
        figures[what] = clock(
            lambda text=text: drain(con.execute(text).to_arrow_reader(65536)), repeat if con is not None else 1
        )
    print(f"{title:34}", *(f"{what} {value:8.2f}" for what, value in figures.items()), flush=True)
    return figures


def write_parts(directory, tables, batch):
    files = []
    indexes = []
    for n, (index, table) in enumerate(tables):
        path = directory / f"{n:05d}.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table.combine_chunks(), max_chunksize=batch)
        files.append(path)
        indexes.append(index)
    np.save(directory / "position.npy", np.concatenate(indexes))
    return files


def open_parts(files):
    batches = []
    for path in files:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        batches += [reader.get_batch(i) for i in range(reader.num_record_batches)]
    return pa.Table.from_batches(batches)


def cover(lon, lat, radius):
    depth = max(0, min(29, int(np.log2(0.8 / max(radius, 1e-9)))))
    ipix, depths, _ = rust.cone_search(depth, 2, lon * DEGREE, lat * DEGREE, radius * DEGREE, False)
    shift = (2 * (29 - depths)).astype(np.int64)
    low = ipix.astype(np.int64) << shift
    return low, low + (np.int64(1) << shift)


def arrow_cone(table, index, lon, lat, radius):
    low, high = cover(lon, lat, radius)
    begin, end = np.searchsorted(index, low), np.searchsorted(index, high)
    rows = [np.arange(a, b) for a, b in zip(begin, end, strict=True) if b > a]
    if not rows:
        return table.slice(0, 0)
    batches = table.take(pa.array(np.concatenate(rows)))
    ra, dec = (np.asarray(batches[name]) * DEGREE for name in ("ra", "dec"))
    d = 2 * np.arcsin(
        np.sqrt(
            np.sin((dec - lat * DEGREE) / 2) ** 2
            + np.cos(dec) * np.cos(lat * DEGREE) * np.sin((ra - lon * DEGREE) / 2) ** 2
        )
    )
    return batches.filter(pa.array(d <= radius * DEGREE))


def run(name, tables, queries, args, directory, wide_table=False):
    folder = directory / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    begin = time.perf_counter()
    files = write_parts(folder, tables, args.batch)
    print(
        f"\n== {name}: written in {time.perf_counter() - begin:.1f} s, {sum(f.stat().st_size for f in files) / 1e6:.0f} MB, batches of {args.batch}",
        flush=True,
    )
    begin = time.perf_counter()
    table = open_parts(files)
    print(
        f"open {1000 * (time.perf_counter() - begin):.2f} ms, {table.num_rows} rows, {table.column(0).num_chunks} batches"
    )
    index = np.load(folder / "position.npy", mmap_mode="r")
    con = duckdb.connect(":memory:", config={"threads": 2, "memory_limit": "4GB"})
    con.register("mapped", table)
    measure("pa.Table registered", con, "mapped", args.repeat, queries)
    con.register("scanned", ds.dataset(files, format="ipc"))
    measure("dataset registered", con, "scanned", args.repeat, queries)
    rng = np.random.default_rng(5)
    places = np.column_stack([rng.uniform(0, 360, 200), np.degrees(np.arcsin(rng.uniform(-1, 1, 200)))])
    turn = iter(range(10**9))

    def find_next_cone():
        lon, lat = places[next(turn) % 200]
        return arrow_cone(table, index, lon, lat, 0.1)

    cone = clock(find_next_cone, 200)
    print(f"Arrow road: cone 0.1 deg {cone:.3f} ms (unoptimised: table.take over {table.column(0).num_chunks} chunks)")
    own = folder / "own.duckdb"
    con.close()
    con = duckdb.connect(str(own), config={"threads": 2, "memory_limit": "4GB"})
    begin = time.perf_counter()
    con.register("mapped", table)
    con.execute("CREATE TABLE own AS SELECT * FROM mapped")
    con.execute("CHECKPOINT")
    print(f"DuckDB file: made in {time.perf_counter() - begin:.1f} s, {own.stat().st_size / 1e6:.0f} MB")
    measure("DuckDB's own file", con, "own", args.repeat, queries)
    con.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_500_000)
    parser.add_argument("--wide", type=int, default=150_000)
    parser.add_argument("--batch", type=int, default=131_072)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--directory", type=Path)
    args = parser.parse_args()
    directory = args.directory or Path(tempfile.mkdtemp(prefix="spike-"))
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    box = "ra BETWEEN 40 AND 40.2 AND dec BETWEEN 20 AND 20.2"
    try:
        if args.rows:
            some = ",".join(str(v) for v in rng.integers(0, args.rows, 1000))
            run(
                "stars",
                stars(args.rows, 0, rng),
                {
                    "dump1M": "SELECT * FROM {t} LIMIT 1000000",
                    "group": "SELECT CAST(mag AS INT) m, COUNT(*), AVG(bv) FROM {t} GROUP BY m",
                    "filter": "SELECT id, ra, dec FROM {t} WHERE mag < 5.05",
                    "box": f"SELECT * FROM {{t}} WHERE {box}",
                    "count": "SELECT COUNT(*) FROM {t} WHERE bv > 1 AND mag < 9",
                    "top": "SELECT * FROM {t} ORDER BY mag LIMIT 10",
                    "nohip": "SELECT COUNT(*) FROM {t} WHERE hip IS NOT NULL",
                    "keys": f"SELECT * FROM {{t}} JOIN (SELECT unnest([{some}]) AS k) ON k = id",
                },
                args,
                directory,
            )
        if args.wide:
            index, table = wide(args.wide, rng)
            run(
                "wide",
                [(index, table)],
                {
                    "dump": "SELECT * FROM {t}",
                    "three": "SELECT id, s4, f0 FROM {t}",
                    "text": "SELECT id, s4 FROM {t} WHERE s4 = 'target 00042'",
                    "like": "SELECT COUNT(*) FROM {t} WHERE s5 LIKE '%42%'",
                    "group": "SELECT s4, COUNT(*), AVG(f0) FROM {t} GROUP BY s4",
                    "time": "SELECT id, t6 FROM {t} WHERE t6 > TIMESTAMP '2001-01-01'",
                    "null": "SELECT COUNT(*) FROM {t} WHERE n7 IS NULL",
                    "array": "SELECT SUM(n15[1]) FROM {t}",
                    "star1": "SELECT * FROM {t} WHERE id = 4242",
                },
                args,
                directory,
            )
    finally:
        if args.directory is None:
            shutil.rmtree(directory)


if __name__ == "__main__":
    main()
