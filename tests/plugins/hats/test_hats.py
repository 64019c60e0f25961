"""The engine hats without a cluster: the contract, which row groups are read, what is too much, what is on the disk."""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hven.adql import bind_query, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.engines import ExecutionLimits, MemoryRelation, Snapshot, StorageEngine, _file_staging
from hven.engines._snapshot_files import is_on_local_disk
from hven.model.deadlines import Deadline
from hven.model.errors import (
    HvenError,
    OperationCancelledError,
    StorageError,
    StorageUnavailableError,
    TimeLimitError,
    TooLargeError,
)
from hven.model.sky import compute_angular_distance
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT64, STRING, TIMESTAMP
from hven.plugins.hats import hats_catalogues as catalogues
from hven.plugins.hats import hats_layout
from hven.plugins.hats.engine import open as open_hats
from hven.plugins.hats.engine import staging
from hven.plugins.hats.engine.manifest import MANIFEST_FILE_NAME, CatalogueManifest
from hven.plugins.hats.engine.row_group_filters import RowGroupChooser, RowGroupLookupContext
from hven.plugins.hats.engine.storage_engine import OWNER_FILE_NAME, HatsEngine
from hven.testing.engine import STARS_TABLE, EngineContract, make_star_table, read_sorted_rows

PLENTY = 1 << 40
PLACED = [row for row in make_star_table().to_pylist() if row["ra"] is not None]


def open_engine(directory: Path, **options: Any) -> StorageEngine:
    return open_hats(directory / "snapshots", memory=1 << 30, roots=[str(directory / "hats")], **options)


class TestHats(EngineContract):
    """What every engine must honour."""

    def open(self, directory: Path) -> StorageEngine:
        return open_hats(directory, memory=1 << 30, roots=[str(directory.with_name("hats"))])


class TestSmallFiles(TestHats):
    """The same with many files, of few rows each."""

    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hats_layout, "MAX_PARTITION_ROWS", 1000)
        monkeypatch.setattr(hats_layout, "ROW_GROUP_ROWS", 256)
        monkeypatch.setattr(_file_staging, "MAX_WAITING_BYTES", 100_000)


def small(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(hats_layout, "MAX_PARTITION_ROWS", 300)
    patch.setattr(hats_layout, "ROW_GROUP_ROWS", 32)
    patch.setattr(_file_staging, "MAX_WAITING_BYTES", 60_000)


def write(engine: StorageEngine, rows: pa.Table, name: str = "a", table: Table = STARS_TABLE) -> Snapshot:
    made = engine.stage_snapshot(table, name)
    for batch in rows.to_batches(max_chunksize=700):
        made.write(batch)
    found = made.finish()
    engine.note_published_snapshot(found)
    return found


def ask(engine: StorageEngine, text: str, relations: dict[str, Any], tables: tuple[Table, ...] = (STARS_TABLE,), limits: ExecutionLimits | None = None) -> list[dict[str, Any]]:  # fmt: skip
    bound = bind_query(parse_query(text), StaticTableCatalogue(tables))
    execution = engine.plan_query(bound).execute(bound.literal_values, relations, limits or ExecutionLimits())
    return [row for batch in execution for row in batch.to_pylist()]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The stars in many files, and in the embedded engine."""
    directory = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        small(patch)
        engine = open_engine(directory, near_bytes=PLENTY)
        assert isinstance(engine, HatsEngine)
        snapshot = write(engine, make_star_table())
        here = engine.embedded_engine.stage_snapshot(STARS_TABLE, "a")
        for batch in make_star_table().to_batches():
            here.write(batch)
        yield engine, snapshot, here.finish()
        engine.close()


def choose_row_groups(engine: HatsEngine, snapshot: Snapshot, text: str) -> tuple[CatalogueManifest, np.ndarray]:
    bound = bind_query(parse_query(text), StaticTableCatalogue([STARS_TABLE]))
    manifest = engine.open_manifest(snapshot)
    return manifest, RowGroupChooser(bound).find_row_groups(
        "sky.stars", RowGroupLookupContext(manifest, engine.get_key_index(snapshot), bound.literal_values)
    )


# --- what is on the disk -----------------------------------------------------------------------------------------


def test_a_snapshot_is_a_valid_hats_catalogue(world: Any) -> None:
    engine, snapshot, _ = world
    directory = engine.roots[0] / snapshot.path
    said = catalogues.parse_catalogue_properties((directory / hats_layout.PROPERTIES_FILE).read_bytes())
    placed = sum(row["ra"] is not None for row in make_star_table().to_pylist())
    assert (said["hats_nrows"], said["hats_col_ra"], said["hats_col_dec"]) == (str(placed), "ra", "dec")
    partitions = hats_layout.parse_partition_info((directory / hats_layout.PARTITION_INFO_FILE).read_bytes())
    found = 0
    for order, pixel in partitions:
        opened_ = pq.ParquetFile(directory / hats_layout.format_partition_path(order, pixel))
        assert opened_.schema_arrow.names[0] == hats_layout.CELL_COLUMN
        assert opened_.metadata.row_group(0).column(0).has_offset_index
        cells = opened_.read([hats_layout.CELL_COLUMN]).column(0).to_numpy()
        low, high = hats_layout.compute_cell_range(order, pixel)
        assert (cells[1:] >= cells[:-1]).all()
        assert low <= cells[0]
        assert cells[-1] < high
        assert len(cells) <= 300
        found += len(cells)
    assert found == placed
    assert pq.read_metadata(directory / hats_layout.METADATA_FILE).num_rows == placed
    assert pq.read_schema(directory / hats_layout.COMMON_METADATA_FILE).names == [
        hats_layout.CELL_COLUMN,
        *STARS_TABLE.arrow_schema.names,
    ]
    index = pq.read_table(directory / "index/dataset/index/part.0.parquet")
    assert index["id"].to_pylist() == list(range(5000))
    for row in index.slice(0, 20).to_pylist():
        if row["Npix"] >= 0:
            keys = pq.read_table(
                directory / hats_layout.format_partition_path(row["Norder"], row["Npix"]), columns=["id"]
            )["id"]
            assert row["id"] in keys.to_pylist()


def test_row_groups_match_the_manifest(world: Any) -> None:
    engine, snapshot, _ = world
    manifest = engine.open_manifest(snapshot)
    rows = pa.Table.from_batches(list(engine.read_rows(snapshot)))
    starts = np.concatenate([[0], np.cumsum(manifest.get_row_group_column("rows"))])
    for number in range(manifest.group_count):
        part = rows.slice(starts[number], starts[number + 1] - starts[number])
        assert number in manifest.find_row_groups_between("id", None, None)
        for name in ("id", "mag", "name"):
            values = [value for value in part[name].to_pylist() if value is not None]
            for value in values[:3]:
                assert number in manifest.find_row_groups_between(name, value, value)
            if values:
                least, most = min(values), max(values)
                outside = (least - 1, least - 1) if name != "name" else ("", "a")
                assert number not in manifest.find_row_groups_between(name, *outside)
                assert number in manifest.find_row_groups_between(name, most, None)


# --- which row groups --------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 360), st.floats(-90, 90), st.floats(0.001, 40))
@example(0.0, 90.0, 3.0)
@example(359.99, -0.1, 2.0)
def test_row_groups_of_a_cone_hold_all_its_rows(world: Any, lon: float, lat: float, radius: float) -> None:
    engine, snapshot, _ = world
    text = f"SELECT id FROM sky.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE({lon}, {lat}, {radius})) = 1"
    manifest, groups = choose_row_groups(engine, snapshot, text)
    near = {
        row["id"]
        for row in PLACED
        if float(compute_angular_distance(row["ra"], row["dec"], lon, lat)) <= radius * (1 - 1e-12)
    }
    held: set[int] = set()
    for path, numbers in manifest.list_row_group_files(groups):
        held |= set(pq.ParquetFile(path).read_row_groups(numbers, columns=["id"])["id"].to_pylist())
    assert near <= held
    if radius < 1:
        assert len(groups) < manifest.group_count / 4  # a small cone is not worth half of the sky
    assert near <= {row["id"] for row in ask(engine, text, {"sky.stars": snapshot})}


@pytest.mark.parametrize(
    ("where", "most"),
    [
        ("id = 77", 1),
        ("id IN (1, 2, 3)", 3),
        ("id = 77 AND mag > 3", 1),
        ("id = -5", 0),
        ("id = 1 OR id = 2", 2),
        ("mag > 50", 0),
        ("name = 'nobody'", 0),
        ("1 = CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 0.1)) AND id < 100", 3),
        ("CONTAINS(POINT(ra, dec), POLYGON(10, 20, 11, 20, 11, 21)) = 1", 4),
        ("DISTANCE(ra, dec, 10, 20) < 0.05", 3),
    ],
)
def test_conditions_reduce_the_row_groups_to_read(world: Any, where: str, most: int) -> None:
    engine, snapshot, here = world
    text = f"SELECT * FROM sky.stars WHERE {where}"
    assert len(choose_row_groups(engine, snapshot, text)[1]) <= most
    by_id = lambda row: row["id"]  # noqa: E731
    assert sorted(ask(engine, text, {"sky.stars": snapshot}), key=by_id) == sorted(ask(engine.embedded_engine, text, {"sky.stars": here}), key=by_id)  # fmt: skip


@pytest.mark.parametrize("where", ["id <> 3", "NOT id = 3", "id = 3 OR ABS(mag) < 2", "mag IS NULL", "id + 0 = 3", "id NOT IN (1)"])  # fmt: skip
def test_other_conditions_leave_all(world: Any, where: str) -> None:
    engine, snapshot, _ = world
    manifest, groups = choose_row_groups(engine, snapshot, f"SELECT id FROM sky.stars WHERE {where}")
    assert len(groups) == manifest.group_count


ATOMS = st.one_of(
    st.builds("s.id {} {}".format, st.sampled_from(["=", "<", ">=", "<>"]), st.integers(-3, 5003)),
    st.builds("s.mag BETWEEN {} AND {}".format, st.integers(0, 5), st.floats(5, 10)),
    st.builds("s.name = 'star {} é'".format, st.integers(0, 600)),
    st.builds("s.id IN ({}, {}, {})".format, *[st.integers(0, 5000)] * 3),
    st.builds(
        "CONTAINS(POINT(s.ra, s.dec), CIRCLE({}, {}, {})) = 1".format,
        st.integers(0, 360),
        st.integers(-90, 90),
        st.floats(0.1, 30),
    ),
    st.builds("s.seen < '2000-0{}-01'".format, st.integers(1, 9)),
    st.just("s.mag IS NULL"),
    st.builds("DISTANCE(POINT(s.ra, s.dec), POINT({}, 5)) < {}".format, st.integers(0, 360), st.floats(0.1, 20)),
)
WHERE = st.recursive(ATOMS, lambda inner: st.one_of(st.builds("({} AND {})".format, inner, inner), st.builds("({} OR {})".format, inner, inner), st.builds("NOT ({})".format, inner)), max_leaves=4)  # fmt: skip
SHAPES = st.sampled_from(
    [
        "SELECT s.* FROM sky.stars AS s WHERE {}",
        "SELECT COUNT(*) AS n, SUM(s.mag) AS m FROM sky.stars AS s WHERE {}",
        "SELECT s.band, MAX(s.id) AS m FROM sky.stars AS s WHERE {} GROUP BY s.band",
        "SELECT TOP 7 s.id, s.mag FROM sky.stars AS s WHERE {} ORDER BY s.mag, s.id",
        "SELECT s.id, t.id AS other FROM sky.stars AS s LEFT OUTER JOIN sky.stars AS t ON s.id = t.id AND t.id < 50 WHERE {}",
        "SELECT s.id FROM (SELECT * FROM sky.stars WHERE mag < 5) AS s WHERE {}",
        "SELECT s.id FROM sky.stars AS s WHERE s.id IN (SELECT id FROM sky.stars WHERE id < 40) AND {}",
        "SELECT s.id + 1 AS k FROM sky.stars AS s WHERE {} UNION SELECT band FROM sky.stars",
    ]
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])  # fmt: skip
@given(SHAPES, WHERE)
def test_answers_do_not_depend_on_the_engine(world: Any, shape: str, where: str) -> None:
    engine, snapshot, here = world
    text = shape.format(where)
    mine = sorted(map(repr, ask(engine, text, {"sky.stars": snapshot})))
    theirs = sorted(map(repr, ask(engine.embedded_engine, text, {"sky.stars": here})))
    if "SUM" in text:  # sums of other orders differ in the last digits
        for one, two in zip(ask(engine, text, {"sky.stars": snapshot}), ask(engine.embedded_engine, text, {"sky.stars": here}), strict=True):  # fmt: skip
            assert one["n"] == two["n"]
            assert one["m"] == pytest.approx(two["m"], rel=1e-12)
        return
    assert mine == theirs


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_selected_row_groups_equal_those_of_a_full_scan(data: st.DataObject) -> None:
    """Files of other programs may have row groups in any order, or overlapping."""
    count = data.draw(st.integers(0, 30))
    first = np.array(data.draw(st.lists(st.integers(0, 1000), min_size=count, max_size=count)), np.int64)
    length = np.array(data.draw(st.lists(st.integers(0, 100), min_size=count, max_size=count)), np.int64)
    if data.draw(st.booleans()):
        first, length = np.sort(first), np.full(count, 5)
    last = first + length
    cuts = np.unique(np.array(data.draw(st.lists(st.integers(0, 1200), max_size=12)), np.int64))
    ranges = cuts[: len(cuts) // 2 * 2].reshape(-1, 2)
    manifest = object.__new__(CatalogueManifest)
    manifest._group_table = pa.table({"first": first, "last": last})
    wanted = [
        any(low < b and a <= high for a, b in ranges.tolist())
        for low, high in zip(first.tolist(), last.tolist(), strict=True)
    ]
    assert manifest.find_row_groups_in_cells(ranges).tolist() == [number for number, held in enumerate(wanted) if held]


# --- streams -----------------------------------------------------------------------------------------------------


def test_whole_tables_are_streamed_at_any_size(world: Any) -> None:
    engine, snapshot, _ = world
    bound = bind_query(parse_query("SELECT id, mag + 1 AS m FROM sky.stars"), StaticTableCatalogue([STARS_TABLE]))
    before, engine.near_bytes = engine.near_bytes, 0
    try:
        execution = engine.plan_query(bound).execute(bound.literal_values, {"sky.stars": snapshot}, ExecutionLimits())
        sizes = [batch.num_rows for batch in execution]
        assert sum(sizes) == 5000
        assert max(sizes) < 1000
        assert len(ask(engine, "SELECT TOP 40 id FROM sky.stars", {"sky.stars": snapshot})) == 40
        assert len(ask(engine, "SELECT TOP 0 id FROM sky.stars", {"sky.stars": snapshot})) == 0
        assert ask(engine, "SELECT COUNT(*) AS n FROM sky.stars", {"sky.stars": snapshot}) == [{"n": 5000}]
        with pytest.raises(TooLargeError) as fault:
            ask(engine, "SELECT id FROM sky.stars WHERE mag < 3", {"sky.stars": snapshot})
        assert "near_bytes" in str(fault.value.remedy)
        assert "spark" in str(fault.value.remedy)
        assert "sky.stars" in str(fault.value)
    finally:
        engine.near_bytes = before


def test_explain_describes_the_query_plan(world: Any) -> None:
    engine, snapshot, _ = world
    bound = bind_query(
        parse_query("SELECT COUNT(*) AS n FROM sky.stars WHERE id = 5"), StaticTableCatalogue([STARS_TABLE])
    )
    plan = engine.plan_query(bound)
    assert "ranges of id" in plan.explain()
    assert "near, up to" in plan.explain()
    (line,) = plan.describe_row_estimates(bound.literal_values, {"sky.stars": snapshot})
    manifest = engine.open_manifest(snapshot)
    assert f"near: 1 of {len(manifest.head.files)} files, 1 of {manifest.group_count} row groups" in line
    before, engine.near_bytes = engine.near_bytes, 0
    try:
        assert (
            "too much without a cluster"
            in plan.describe_row_estimates(bound.literal_values, {"sky.stars": snapshot})[0]
        )
    finally:
        engine.near_bytes = before


def test_estimates_count_only_data_that_is_read(world: Any) -> None:
    engine, snapshot, _ = world
    manifest = engine.open_manifest(snapshot)
    first = int(manifest.get_row_group_column("rows")[0])
    for text, said in (
        ("SELECT COUNT(*) AS n FROM sky.stars", "no row is read"),
        (
            f"SELECT TOP {first} * FROM sky.stars",
            f"near: 1 of {len(manifest.head.files)} files, 1 of {manifest.group_count} row groups",
        ),
        (f"SELECT TOP {first + 1} * FROM sky.stars", f"2 of {manifest.group_count} row groups"),
        ("SELECT * FROM sky.stars", f"{manifest.group_count} of {manifest.group_count} row groups"),
    ):
        bound = bind_query(parse_query(text), StaticTableCatalogue([STARS_TABLE]))
        assert said in engine.plan_query(bound).describe_row_estimates(bound.literal_values, {"sky.stars": snapshot})[0]


@pytest.mark.parametrize(
    ("source", "narrowed"),
    [
        ("up.mine AS u JOIN sky.stars AS s ON DISTANCE(POINT(u.lon, u.lat), POINT(s.ra, s.dec)) < 3", True),
        ("up.mine AS u JOIN sky.stars AS s ON CONTAINS(POINT(s.ra, s.dec), CIRCLE(u.lon, u.lat, u.reach)) = 1", True),
        ("up.mine AS u JOIN sky.stars AS s ON 1 = CONTAINS(POINT(u.lon, u.lat), CIRCLE(s.ra, s.dec, 2.5))", True),
        ("up.mine AS u LEFT JOIN sky.stars AS s ON DISTANCE(POINT(u.lon, u.lat), POINT(s.ra, s.dec)) <= 3", True),
        ("(SELECT lon AS x, lat AS y FROM up.mine) AS u, sky.stars AS s WHERE DISTANCE(s.ra, s.dec, u.x, u.y) < 3", True),
        ("sky.stars AS s LEFT JOIN up.mine AS u ON DISTANCE(POINT(u.lon, u.lat), POINT(s.ra, s.dec)) < 3", False),
        ("up.mine AS u JOIN sky.stars AS s ON DISTANCE(POINT(u.lon, u.lat), POINT(s.ra, s.dec)) > 179", False),
    ],
)  # fmt: skip
def test_uploads_are_joined_here_and_little_is_read_for_them(world: Any, source: str, narrowed: bool) -> None:
    engine, snapshot, here = world
    upload = Table(schema="up", name="mine", columns=tuple(Column(name=name, type=FLOAT64) for name in ("lon", "lat", "reach")))  # fmt: skip
    rows = MemoryRelation(pa.table({"lon": [10.0, 200.0, None, 359.9], "lat": [20.0, -40.0, 3.0, 0.1], "reach": [3.0, 0.5, 1.0, None]}, schema=upload.arrow_schema))  # fmt: skip
    text = f"SELECT s.id FROM {source} ORDER BY s.id"
    tables = (STARS_TABLE, upload)
    mine = ask(engine, text, {"sky.stars": snapshot, "up.mine": rows}, tables)
    assert mine == ask(engine.embedded_engine, text, {"sky.stars": here, "up.mine": rows}, tables)
    assert mine
    bound = bind_query(parse_query(text), StaticTableCatalogue(tables))
    plan = engine.plan_query(bound)
    (wanted,) = plan._select_row_groups_by_table(
        bound.literal_values, {"sky.stars": snapshot, "up.mine": rows}
    ).values()
    assert (len(wanted.group_numbers) * 4 < wanted.manifest.group_count) is narrowed
    assert ("cells around the positions of up.mine" in plan.explain()) is narrowed


# --- merging -----------------------------------------------------------------------------------------------------


def merge_changes(
    engine: StorageEngine, base: Snapshot, changes: pa.Table, gone: pa.Table | None = None, name: str = "m"
) -> Snapshot:
    made = engine.stage_merge(STARS_TABLE, name, base, gone)
    for batch in changes.to_batches():
        made.write(batch)
    found = made.finish()
    engine.note_published_snapshot(found)
    return found


def test_a_merge_rewrites_only_changed_partitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    engine = open_engine(tmp_path)
    base = write(engine, make_star_table())
    one = make_star_table().slice(3000, 1)
    new = merge_changes(engine, base, one.set_column(3, STARS_TABLE.arrow_schema.field("mag"), pa.array([77.5])))
    old_files, new_files = ({path.relative_to(tmp_path / "hats" / which.path): path.stat().st_ino for path in (tmp_path / "hats" / which.path).rglob("*.parquet") if "index" not in path.parts} for which in (base, new))  # fmt: skip
    assert old_files.keys() == new_files.keys()
    assert len({name for name in old_files if old_files[name] != new_files[name]}) == 1
    left, right = (sum(batch.num_rows for batch in side) for side in engine.read_differing_rows(base, new))
    assert left == right <= 300
    assert ask(engine, "SELECT id FROM sky.stars WHERE mag = 77.5", {"sky.stars": new}) == [{"id": one["id"][0].as_py()}]  # fmt: skip
    engine.remove_snapshot(base)
    assert len(read_sorted_rows(engine, new)) == 5000
    assert engine.find_missing_or_resized_file(new) is None
    engine.close()


def test_merges_split_large_partitions_and_fill_empty_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    engine = open_engine(tmp_path)
    south = make_star_table().slice(0, 1000)
    last = write(engine, south)
    for turn in range(1, 5):
        last = merge_changes(engine, last, make_star_table().slice(turn * 1000, 1000), name=f"m{turn}")
        manifest = engine.open_manifest(last)
        bounds = [
            hats_layout.compute_cell_range(file.order, file.pixel) for file in manifest.head.files if file.pixel >= 0
        ]
        assert all(one[1] <= two[0] for one, two in itertools.pairwise(bounds))
        assert all(file.rows <= 300 for file in manifest.head.files if file.pixel >= 0)
    assert read_sorted_rows(engine, last) == sorted(make_star_table().to_pylist(), key=lambda row: row["id"])
    assert manifest.head.rows == 5000
    engine.close()


EVENTS = Table(
    schema="s",
    name="events",
    columns=(Column(name="moment", type=TIMESTAMP), Column(name="n", type=INT64), Column(name="word", type=STRING)),
    primary=("moment",),
)


def events(begin: int, end: int) -> pa.Table:
    number = np.arange(begin, end)
    return pa.table({"moment": pa.array(number * 1_000_000, pa.timestamp("us")), "n": number, "word": [f"w{one}" for one in number]}, schema=EVENTS.arrow_schema)  # fmt: skip


def test_tables_without_a_position_are_partitioned_by_their_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    engine = open_engine(tmp_path)
    assert isinstance(engine, HatsEngine)
    base = write(engine, events(0, 2000).take(pa.array(np.random.default_rng(3).permutation(2000))), "a", EVENTS)
    assert len(base.parts) == 7
    text = "SELECT n FROM s.events WHERE moment >= '1970-01-01T00:10:00' AND moment < '1970-01-01T00:10:03'"
    assert ask(engine, text, {"s.events": base}, (EVENTS,)) == [{"n": 600}, {"n": 601}, {"n": 602}]
    bound = bind_query(parse_query(text), StaticTableCatalogue([EVENTS]))
    assert (
        len(
            RowGroupChooser(bound).find_row_groups(
                "s.events", RowGroupLookupContext(engine.open_manifest(base), None, bound.literal_values)
            )
        )
        == 1
    )
    made = engine.stage_merge(EVENTS, "b", base, pa.table({"moment": events(100, 200)["moment"]}))
    made.write(events(1990, 2600).to_batches()[0])
    new = made.finish()
    back = pa.Table.from_batches(list(engine.read_rows(new)))
    assert back["n"].to_pylist() == [*range(100), *range(200, 2600)]
    assert not (tmp_path / "hats" / new.path / hats_layout.PROPERTIES_FILE).exists()
    engine.close()


# --- crashes, damage, others -------------------------------------------------------------------------------------


def test_only_leftovers_of_a_crash_are_removed(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    known = write(engine, make_star_table(50))
    left = tmp_path / "hats" / "sky.stars" / "x.staging"
    shutil.copytree(tmp_path / "hats" / known.path, left)
    theirs = tmp_path / "hats" / "gaia" / "dataset"
    theirs.mkdir(parents=True)
    (theirs / "_metadata").write_text("theirs")
    living = engine.stage_snapshot(STARS_TABLE, "living")
    assert engine.remove_leftovers({known.path}) == ["sky.stars/x.staging"]
    assert theirs.is_dir()
    living.write(make_star_table(5).to_batches()[0])
    assert living.finish().rows == 5
    engine.close()


def test_a_snapshot_being_read_is_not_removed(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    known = write(engine, make_star_table(50))
    handle = os.open(tmp_path / "hats" / known.path / staging.READERS_LOCK_NAME, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    engine.remove_snapshot(known)
    assert engine.remove_leftovers(set()) == []
    os.close(handle)
    assert engine.remove_leftovers(set()) == [known.path]
    engine.close()


@pytest.mark.parametrize("begun", [False, True], ids=["new", "killed while it was claimed"])
def test_a_root_directory_belongs_to_one_site(tmp_path: Path, begun: bool) -> None:
    if begun:
        (tmp_path / "hats").mkdir()
        (tmp_path / "hats" / OWNER_FILE_NAME).touch()
    first = open_engine(tmp_path, site="one")
    write(first, make_star_table(5))
    second = open_hats(tmp_path / "other", memory=1 << 28, roots=[str(tmp_path / "hats")], site="two")
    with pytest.raises(StorageError, match="belongs to another site"):
        second.stage_snapshot(STARS_TABLE, "b")
    with pytest.raises(StorageError, match="belongs to another site"):
        second.remove_leftovers(set())
    assert write(open_engine(tmp_path, site="one"), make_star_table(5), "c").rows == 5


@pytest.mark.parametrize("harm", ["gone", "cut", "other"])
def test_damaged_files_are_told_of(tmp_path: Path, harm: str) -> None:
    engine = open_engine(tmp_path)
    known = write(engine, make_star_table())
    path = next((tmp_path / "hats" / known.path / "dataset").rglob("Npix=*.parquet"))
    assert engine.find_missing_or_resized_file(known) is None
    assert not engine.verify_snapshot(known, lambda _: None, {}).faults
    data = path.read_bytes()
    path.chmod(0o644)
    path.parent.chmod(0o755)
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-100] if harm == "cut" else data[:500] + b"\0" * 100 + data[600:])
    if harm != "other":
        assert path.name in (engine.find_missing_or_resized_file(known) or "")
        with pytest.raises(StorageError) as fault:
            ask(engine, "SELECT * FROM sky.stars", {"sky.stars": known})
        assert path.name in str(fault.value)
        assert fault.value.remedy
    assert path.name in str(engine.verify_snapshot(known, lambda _: None, {}).faults)
    engine.close()


def test_a_damaged_manifest_is_reported(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    known = write(engine, make_star_table(100))
    path = tmp_path / "hats" / known.path / MANIFEST_FILE_NAME
    path.chmod(0o644)
    path.write_bytes(b"nothing")
    with pytest.raises(StorageUnavailableError, match=r"sky\.stars"):
        ask(engine, "SELECT * FROM sky.stars", {"sky.stars": known})
    assert MANIFEST_FILE_NAME in (engine.find_missing_or_resized_file(known) or "")
    assert MANIFEST_FILE_NAME in engine.verify_snapshot(known, None, {}).faults
    engine.close()


def test_a_hanging_mount_does_not_block_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for anything of a file there waits until the mount is back."""
    engine = open_engine(tmp_path)
    known = write(engine, make_star_table())
    path = next((tmp_path / "hats" / known.path / "dataset").rglob("Npix=*.parquet"))
    back, stat = threading.Event(), os.stat

    def hanging(name: Any, *more: Any, **words: Any) -> os.stat_result:
        if str(name) == str(path):
            assert back.wait(60)
        return stat(name, *more, **words)

    monkeypatch.setattr(os, "stat", hanging)
    try:
        with pytest.raises(TimeLimitError):
            ask(
                engine,
                "SELECT * FROM sky.stars ORDER BY mag",
                {"sky.stars": known},
                limits=ExecutionLimits(deadline=Deadline(0.3)),
            )
        bound = bind_query(parse_query("SELECT * FROM sky.stars"), StaticTableCatalogue([STARS_TABLE]))
        execution = engine.plan_query(bound).execute(bound.literal_values, {"sky.stars": known}, ExecutionLimits())
        threading.Timer(0.2, execution.cancel).start()
        with pytest.raises(OperationCancelledError):
            list(execution)
    finally:
        back.set()
        engine.close()


CONE = "SELECT * FROM sky.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE({}, {}, 4)) = 1"


def waits_for_nothing(directory: Path) -> bool:
    """Tell whether the file system here can read what is in memory alone: that of /dev/shm cannot."""
    path = directory / "written"
    path.write_bytes(bytes(9))
    handle = os.open(path, os.O_RDONLY)
    try:
        return os.preadv(handle, [bytearray(9)], 0, os.RWF_NOWAIT) == 9
    except OSError:
        return False
    finally:
        os.close(handle)


def test_a_cone_out_of_memory_is_given_at_once_and_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an event loop may read: rows that stand in memory of the machine; where anything is to be waited for, it is not told to."""
    engine = open_engine(tmp_path)
    snapshot = write(engine, make_star_table())
    places = [(row["ra"], row["dec"]) for row in make_star_table().to_pylist()[::531] if row["ra"] is not None]

    def query_cones() -> tuple[list[bool], list[Any]]:
        small, found = [], []
        for lon, lat in places:
            bound = bind_query(parse_query(CONE.format(lon, lat)), StaticTableCatalogue([STARS_TABLE]))
            plan = engine.plan_query(bound)
            assert plan.is_quick
            execution = plan.execute(bound.literal_values, {"sky.stars": snapshot}, ExecutionLimits())
            small.append(execution.small)
            found.append(sorted((row for batch in execution for row in batch.to_pylist()), key=lambda row: row["id"]))
            execution.close()
        return small, found

    first, wanted = query_cones()
    assert not first[0]  # footers and columns of words are known then
    assert all(wanted)
    now, again = query_cones()
    assert any(now) == waits_for_nothing(tmp_path)
    assert again == wanted
    for what, value in (
        ("row_group_reader.READ_NOWAIT_FLAG", -1),
        ("manifest.CatalogueManifest.is_local", False),
        ("local_execution.MAX_DIRECT_GROUPS", 0),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"hven.plugins.hats.engine.{what}", value)
            now, again = query_cones()
            assert not any(now)
            assert again == wanted
    for path in (tmp_path / "hats" / snapshot.path / "dataset").rglob("Npix=*.parquet"):
        os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(StorageError, match="has changed"):
        query_cones()
    engine.close()


def test_a_cone_on_a_mount_that_hangs_can_be_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine(tmp_path)
    snapshot = write(engine, make_star_table())
    back, stat = threading.Event(), os.stat

    def hanging(name: Any, *more: Any, **words: Any) -> os.stat_result:
        if str(name).endswith(".parquet"):
            assert back.wait(60)
        return stat(name, *more, **words)

    assert ask(engine, CONE.format(90, 1), {"sky.stars": snapshot})
    monkeypatch.setattr(CatalogueManifest, "is_local", False)
    monkeypatch.setattr(os, "stat", hanging)
    try:
        with pytest.raises(TimeLimitError):
            ask(engine, CONE.format(90, 1), {"sky.stars": snapshot}, limits=ExecutionLimits(deadline=Deadline(0.3)))
    finally:
        back.set()
        engine.close()


def test_what_is_mounted_where_is_known() -> None:
    assert not is_on_local_disk("/proc/self")
    assert not is_on_local_disk("https://example.org/x")


def test_roots_that_are_not_there_are_a_matter_of_health(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    assert engine.find_outage() is None  # it is made when something is written
    away = open_hats(tmp_path / "s", memory=1 << 28, roots=["/nowhere/at/all"])
    assert "/nowhere/at/all" in (away.find_outage() or "")
    with pytest.raises(HvenError, match="cannot be written"):
        away.stage_snapshot(STARS_TABLE, "a")
    away.close()
    engine.close()


def test_a_column_of_the_name_of_cells_is_refused(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    table = STARS_TABLE.copy_with(columns=(*STARS_TABLE.columns, Column(name=hats_layout.CELL_COLUMN, type=INT64)))
    with pytest.raises(StorageError, match=hats_layout.CELL_COLUMN):
        engine.stage_snapshot(table, "a")
    engine.close()


def test_samples_are_from_all_over(world: Any) -> None:
    engine, snapshot, _ = world
    found = engine.sample_rows(snapshot, 1000, {"dec", "mag"})
    assert found is not None
    assert set(found.rows.schema.names) == {"dec", "mag"}
    assert engine.sample_rows(snapshot, 1000, set()).rows.num_columns == 1
