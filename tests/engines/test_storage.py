"""Snapshots on disk: order, indexes, sizes beyond one run, faults of the disk, crashes."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from engine_tables import STARS, build_sky, run_query, stage_table
from hypothesis import given, settings
from hypothesis import strategies as st

from hven.engines import ExecutionLimits, MemoryRelation, _file_staging, duckdb
from hven.engines.duckdb import staging
from hven.engines.duckdb.snapshot_files import KeyIndex
from hven.model.errors import DataError, StorageError, StorageUnavailableError
from hven.model.sky import healpix
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT64, STRING, TIMESTAMP
from shared import EXAMPLES_FACTOR

KEYED = Table(
    schema="s", name="keyed", columns=(Column(name="id", type=INT64), Column(name="x", type=FLOAT64)), primary=("id",)
)


@pytest.fixture
def own(tmp_path):
    engine = duckdb.open(tmp_path / "snapshots", memory=256 * 1024**2, threads=2)
    yield engine
    engine.close()


def files(engine) -> list[str]:
    return sorted(str(path.relative_to(engine.directory)) for path in engine.directory.rglob("*") if path.is_file())


@pytest.mark.parametrize("run", [None, 60_000])
def test_rows_are_stored_in_healpix_order(own, monkeypatch, run):
    if run:  # many runs, many parts: what happens to fifty million rows
        monkeypatch.setattr(_file_staging, "MAX_WAITING_BYTES", run)
        monkeypatch.setattr(staging, "MIN_PART_BYTES", 100_000)
    rows = build_sky(40_000, seed=2)
    snapshot = stage_table(own, STARS, rows)
    stored = own.open_snapshot(snapshot)
    assert snapshot.rows == 40_000
    assert len(snapshot.parts) > (1 if run else 0)
    back = pa.Table.from_batches(list(own.read_rows(snapshot)))
    cells = healpix.compute_cell_indexes(29, back["ra"].to_numpy(), back["dec"].to_numpy())
    with_position = len(stored.cell_indexes)
    assert (cells[:with_position] == stored.cell_indexes).all()
    assert (np.diff(stored.cell_indexes) >= 0).all()
    assert (cells[with_position:] == -1).all()
    # nothing is lost or changed, but NaN is null
    mags = [None if value is None or math.isnan(value) else value for value in rows.sort_by("id")["mag"].to_pylist()]
    assert back.sort_by("id")["mag"].to_pylist() == mags
    assert back.sort_by("id")["note"].to_pylist() == rows.sort_by("id")["note"].to_pylist()
    assert not [name for name in files(own) if "run-" in name]


def test_rows_without_position_are_stored_by_key(own, monkeypatch):
    monkeypatch.setattr(_file_staging, "MAX_WAITING_BYTES", 10_000)
    ids = np.random.default_rng(0).permutation(20_000) - 10_000
    snapshot = stage_table(own, KEYED, pa.table({"id": ids, "x": ids / 7.0}))
    back = pa.Table.from_batches(list(own.read_rows(snapshot)))
    assert back["id"].to_pylist() == sorted(ids.tolist())
    assert own.open_snapshot(snapshot).get_key_index("id").rows is None  # the stored order is the order of the key


def test_rows_without_any_order_stay_as_they_came(own, monkeypatch):
    monkeypatch.setattr(_file_staging, "MAX_WAITING_BYTES", 10_000)
    plain = Table(schema="s", name="plain", columns=KEYED.columns)
    ids = np.random.default_rng(0).permutation(20_000)
    snapshot = stage_table(own, plain, pa.table({"id": ids, "x": ids / 7.0}))
    assert pa.Table.from_batches(list(own.read_rows(snapshot)))["id"].to_pylist() == ids.tolist()


def test_duplicates_of_a_compound_or_textual_key(own):
    two = Table(
        schema="s",
        name="two",
        columns=(Column(name="a", type=STRING), Column(name="b", type=INT64)),
        primary=("a", "b"),
    )
    stage_table(own, two, pa.table({"a": ["x", "x", "y"], "b": [1, 2, 1]}))
    with pytest.raises(DataError, match=r"a = 'x', b = 1 \(2 times\)"):
        stage_table(own, two, pa.table({"a": ["x", "x", "y"], "b": [1, 1, 1]}))
    with pytest.raises(DataError, match="null in 1 rows"):
        stage_table(own, two, pa.table({"a": ["x", None], "b": [1, 1]}))
    assert len(files(own)) == len([name for name in files(own) if "/test-" in name])
    assert not [name for name in files(own) if ".staging" in name]


def test_a_full_disk_leaves_nothing(tmp_path):
    """In a process of its own, whose files may not grow beyond 300 kB."""
    code = textwrap.dedent(
        f"""
        import resource, signal, sys
        sys.path[:0] = {[str(Path(__file__).parent)]!r}
        from pathlib import Path
        from engine_tables import STARS, build_sky, stage_table
        from hven.engines import duckdb
        from hven.model.errors import StorageError
        engine = duckdb.open(Path({str(tmp_path)!r}), memory=256 * 1024**2, threads=1)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        try:
            stage_table(engine, STARS, build_sky(20_000))
        except StorageError as error:
            print(error)
        print([str(path) for path in Path({str(tmp_path)!r}).rglob("*") if path.is_file()])
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    said, left = done.stdout.strip().split("\n")
    assert "disk is full" in said
    assert "keep_snapshots" in said
    assert left == "[]"


def test_a_killed_writer_leaves_only_what_sweep_removes(own, tmp_path):
    code = textwrap.dedent(
        f"""
        import os, signal, sys
        sys.path[:0] = {[str(Path(__file__).parent)]!r}
        from pathlib import Path
        from engine_tables import STARS, build_sky
        from hven.engines import duckdb
        from hven.engines import _file_staging
        _file_staging.MAX_WAITING_BYTES = 100_000
        engine = duckdb.open(Path({str(own.directory)!r}), memory=256 * 1024**2, threads=1)
        writing = engine.stage_snapshot(STARS, "killed")
        for batch in build_sky(20_000).to_batches(max_chunksize=1000):
            writing.write(batch)
        print("ready", flush=True)
        sys.stdin.readline()
        """
    )
    kept = stage_table(own, STARS, build_sky(100))
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline().strip() == "ready"
        assert own.remove_leftovers({kept.path}) == []  # it lives
        child.send_signal(signal.SIGKILL)
        child.wait(60)
    finally:
        child.kill()
        child.communicate()
    assert [name for name in files(own) if "killed" in name]
    assert own.remove_leftovers({kept.path}) == ["sky.stars/killed.staging"]
    assert not [name for name in files(own) if "killed" in name]
    assert run_query(own, "SELECT COUNT(*) AS n FROM sky.stars", {"sky.stars": kept}).to_pylist() == [{"n": 100}]


@pytest.mark.parametrize("name", ["00000.arrow", "snapshot.json", "position.npy", "key000.values.npy"])
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_damage_is_named(own, name, how):
    snapshot = stage_table(own, STARS, build_sky(2000))
    path = own.directory / snapshot.path / name
    path.chmod(0o600)
    if how == "gone":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size // 2)
    # readers are told in words, the owner which file it is
    with pytest.raises(StorageUnavailableError, match=r"^the rows of sky\.stars are damaged on disk"):
        run_query(own, "SELECT * FROM sky.stars WHERE id = 3 OR DISTANCE(ra, dec, 1, 2) < 1", {"sky.stars": snapshot})
    assert name in own.find_missing_or_resized_file(snapshot)
    assert name in own.file_faults[snapshot.path]


def test_names_that_are_no_file_names(own):
    odd = Table(schema='../Sch "ema"', name="tä/b le", columns=KEYED.columns)
    snapshot = stage_table(own, odd, pa.table({"id": [1], "x": [2.0]}))
    assert (own.directory / snapshot.path).is_dir()
    assert len(Path(snapshot.path).parts) == 2
    with pytest.raises(StorageError):
        own.stage_snapshot(odd, "../x")


@pytest.mark.slow
def test_memory_of_writing_is_bounded(tmp_path):
    """Fifty times more rows than fit into a run take hardly more memory than one run."""
    code = textwrap.dedent(
        f"""
        import resource, sys
        sys.path[:0] = {[str(Path(__file__).parent)]!r}
        from pathlib import Path
        import numpy as np, pyarrow as pa
        from hven.engines import duckdb
        from hven.engines import _file_staging
        from hven.engines.duckdb import staging
        from hven.model.table import Column, Table
        from hven.model.types import INT64
        _file_staging.MAX_WAITING_BYTES = 2_000_000
        staging.MIN_PART_BYTES = 2_000_000
        table = Table(schema="s", name="t", columns=(Column(name="ra"), Column(name="dec"), *(Column(name=f"x{{i}}") for i in range(18))), position=("ra", "dec"))
        engine = duckdb.open(Path({str(tmp_path)!r}), memory=256 * 1024**2, threads=1)
        rng = np.random.default_rng(0)

        def anonymous():
            return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1]) // 1024

        peak = 0
        writing = engine.stage_snapshot(table, "a")
        for _ in range(70):
            writing.write(pa.record_batch({{name: rng.uniform(0, 90, 10_000) for name in table.arrow_schema.names}}, schema=table.arrow_schema))
            peak = max(peak, anonymous())
        start = anonymous()
        snapshot = writing.finish()
        print(snapshot.bytes // 2**20, max(peak, anonymous()), len(snapshot.parts))
        """
    )
    # as `hven ingest` runs: an earlier test in this process may have imported the server, which sets the allocator of servers for all children
    clean = {name: value for name, value in os.environ.items() if name != "ARROW_DEFAULT_MEMORY_POOL"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False, env=clean
    )
    assert done.returncode == 0, done.stderr
    size, peak, parts = map(int, done.stdout.split())
    assert size > 100
    assert parts > 40
    assert peak < 190, f"{peak} MB for {size} MB"


# --- key indexes ---------------------------------------------------------------------------------------------------------


@settings(max_examples=150 * EXAMPLES_FACTOR, deadline=None)
@given(
    values=st.lists(st.integers(-20, 20), min_size=1, max_size=60),
    low=st.one_of(st.none(), st.integers(-25, 25), st.floats(-25, 25), st.just(2**40)),
    high=st.one_of(st.none(), st.integers(-25, 25), st.floats(-25, 25), st.just(-(2**40))),
    low_open=st.booleans(),
    high_open=st.booleans(),
    kind=st.sampled_from([pa.int16(), pa.int32(), pa.int64(), pa.float64()]),
)
def test_spans_of_numbers(values, low, high, low_open, high_open, kind):
    array = np.sort(np.array(values)).astype(kind.to_pandas_dtype())
    index = KeyIndex(
        arrow_type=kind,
        count=len(array),
        values=array,
        rows=None,
        get_text=lambda row: None,
        get_texts=lambda rows: pa.nulls(len(rows)),
    )
    begin, end = index.find_range(low, high, is_low_open=low_open, is_high_open=high_open)

    def inside(value):
        above = low is None or (value > low if low_open else value >= low)
        return above and (high is None or (value < high if high_open else value <= high))

    assert array[begin:end].tolist() == [value for value in array.tolist() if inside(value)]


@settings(max_examples=100 * EXAMPLES_FACTOR, deadline=None)
@given(
    values=st.lists(st.text(alphabet="abÄz日😀", max_size=3), min_size=1),
    low=st.text(alphabet="abÄz日😀", max_size=3),
    low_open=st.booleans(),
)
def test_spans_of_text(values, low, low_open):
    ordered = sorted(values, key=lambda text: text.encode())
    index = KeyIndex(
        arrow_type=pa.string(),
        count=len(ordered),
        values=None,
        rows=None,
        get_text=ordered.__getitem__,
        get_texts=lambda rows: pa.array([ordered[row] for row in rows]),
    )
    begin, end = index.find_range(low, None, is_low_open=low_open)
    assert ordered[begin:end] == [
        text for text in ordered if text.encode() > low.encode() or (text == low and not low_open)
    ]
    for one in {low, *ordered}:
        begin, end = index.find_range(one, one)
        assert ordered[begin:end] == [one] * ordered.count(one)


def test_timestamps_are_looked_up_as_text(own):
    table = Table(schema="s", name="t", columns=(Column(name="t", type=TIMESTAMP, indexed=True),))
    rows = pa.table({"t": pa.array([10**15 + 7, None, -5, 0, 1], pa.timestamp("us"))})
    relations = {"s.t": stage_table(own, table, rows)}
    for condition, wanted in (
        ("t < '1970-01-01'", 1),
        ("t = '1970-01-01T00:00:00'", 1),
        ("t > '1970-01-01T00:00:00.000001'", 1),
        ("t >= '1970-01-01'", 3),
    ):
        assert run_query(own, f"SELECT t FROM s.t WHERE {condition}", relations, (table,)).num_rows == wanted


def test_memory_relations_have_no_nan_either(own):
    rows = pa.table({"id": [1, 2], "x": [1.0, float("nan")]})
    assert run_query(
        own, "SELECT id FROM s.keyed WHERE x > 0", {"s.keyed": MemoryRelation(rows)}, (KEYED,), ExecutionLimits()
    ).to_pylist() == [{"id": 1}]
