"""Snapshots made of others by the embedded engine: the same as staged anew, sharing what did not change, safe against crashes and full disks."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from engine_tables import STARS, build_sky, run_query, stage_table
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hven.engines import _file_staging, duckdb
from hven.engines._row_preparation import MISSING_KEY, compute_position_keys
from hven.engines.duckdb import row_renumbering, snapshot_merging, staging
from hven.engines.duckdb.snapshot_files import MANIFEST_FILE_NAME
from hven.ingest._disk_space import measure_directory_bytes
from hven.model.errors import DataError, StorageError
from hven.model.table import Column, PartitionScheme, Table
from hven.model.types import FLOAT32, FLOAT64, INT32, INT64, STRING, TIMESTAMP, parse_type

_count = itertools.count()


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    engine = duckdb.open(tmp_path_factory.mktemp("merge") / "snapshots", memory=256 * 1024**2, threads=2)
    yield engine
    engine.close()


@pytest.fixture(scope="module", autouse=True)
def small():
    """Parts of a few rows, entries of indexes rewritten a few at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot_merging, "MAX_PART_RUNS", 3)  # both ways to put a part together are taken
        patch.setattr(staging, "MIN_PART_BYTES", 2000)
        patch.setattr(staging, "MIN_PART_ROWS", 7)
        patch.setattr(row_renumbering, "BATCH_ENTRIES", 13)
        yield


def merge(engine, table, base, rows, gone=None, step=11):
    begun = engine.stage_merge(table, f"m-{next(_count):05d}", base, gone)
    for batch in rows.to_batches(max_chunksize=step):
        begun.write(batch)
    return begun.finish()


def everything(engine, snapshot) -> pa.Table:
    return pa.Table.from_batches(list(engine.read_rows(snapshot)), engine.open_snapshot(snapshot).schema)


# --- the same as staged anew -----------------------------------------------------------------------------------------

WORDS = ("", "a", "Ä", "ab", "b", "日本", "zz")
COLUMNS = (
    Column(name="id", type=INT64),
    Column(name="word", type=STRING, indexed=True),
    Column(name="ra", type=FLOAT64),
    Column(name="dec", type=FLOAT64),
    Column(name="x", type=FLOAT64, indexed=True),
    Column(name="y", type=FLOAT32),
    Column(name="n", type=INT32, indexed=True),
    Column(name="seen", type=TIMESTAMP, indexed=True),
    Column(name="flag", type=parse_type("boolean")),
    Column(name="pair", type=parse_type("float64[2]")),
    Column(name="list", type=parse_type("int32[*]")),
    Column(name="shape", type=parse_type("circle")),
)
PLAIN = Table(schema="s", name="t", columns=COLUMNS, primary=("id",))
TABLES = {
    "by position": PLAIN.copy_with(position=("ra", "dec")),
    "by position, textual key": PLAIN.copy_with(position=("ra", "dec"), primary=("word", "n")),
    "by number": PLAIN,
    "by time": PLAIN.copy_with(partition=PartitionScheme(by="time", column="seen", every="30 d")),
    "as they came": PLAIN.copy_with(primary=("word", "id")),
    "key of three": PLAIN.copy_with(primary=("word", "n", "id")),
}

_shapes = st.tuples(
    st.sampled_from([0.0, 10.0, 359.0]), st.sampled_from([-89.0, 0.0, 20.0]), st.sampled_from([0.1, 5.0, 80.0])
).map(list)


@st.composite
def _row(draw, key):
    some = draw(st.integers(0, 2**20))  # one draw for most of it: hypothesis takes time for each
    rng = random.Random(some)

    def choose_value(*values):
        return None if rng.random() < 0.2 else rng.choice(values)

    given_ = rng.random() < 0.8
    return {
        "id": key,
        "word": WORDS[key % len(WORDS)],
        "ra": rng.choice([0.0, 10.0, 10.001, 359.999, 123.0]) if given_ else None,
        "dec": rng.choice([-90.0, 0.0, 20.0, 90.0]) if given_ else None,
        "x": choose_value(0.0, -0.0, 1.5, -1.5, math.inf, -math.inf, 1e300),
        "y": choose_value(0.1, 2.5, -3.0),
        "n": key // len(WORDS) % 11 - 5,
        "seen": choose_value(0, 10**12, 15 * 10**14, 16 * 10**14),
        "flag": choose_value(True, False),
        "pair": choose_value([1.0, 2.0], [math.nan, 0.0]),
        "list": choose_value([], [1], [1, 2, 3]),
        "shape": choose_value([10.0, 20.0, 0.5], [0.0, 89.0, 5.0], [200.0, -40.0, 100.0]),
    }


def _rows(keys):
    return st.tuples(*(_row(key) for key in keys)).map(
        lambda rows: pa.Table.from_pylist(list(rows), schema=PLAIN.arrow_schema)
    )


KEYS = 70


@st.composite
def _story(draw):
    """Rows, and some changes of them: each a set of keys that are written, and one of keys that are gone."""
    first = draw(
        _rows(
            sorted(draw(st.sets(st.integers(0, KEYS), min_size=0, max_size=45)), key=lambda key: key * 37 % (KEYS + 1))
        )
    )
    turns = []
    for _ in range(draw(st.integers(1, 3))):
        written = draw(st.lists(st.integers(0, KEYS), max_size=12, unique=True))
        turns.append((draw(_rows(written)), draw(st.lists(st.integers(0, KEYS), max_size=12))))
    return first, turns


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
@settings(
    max_examples=200 if os.environ.get("HVEN_PROOF") == "full" else 6,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
)  # shrinking takes minutes: each example writes files
@given(story=_story())
def test_a_merge_is_what_staging_all_rows_is(own, table, story):
    rows, turns = story
    names = list(table.primary)
    last = stage_table(own, table, rows, step=9)
    known = {row["id"]: row for row in rows.to_pylist()}
    for changes, gone in turns:
        all_keys = pa.Table.from_pylist(
            [{"id": key, "word": WORDS[key % len(WORDS)], "n": key // len(WORDS) % 11 - 5} for key in gone],
            schema=pa.schema([PLAIN.arrow_schema.field(name) for name in ("id", "word", "n")]),
        )
        for key in gone:
            known.pop(key, None)
        known |= {row["id"]: row for row in changes.to_pylist()}
        last = merge(own, table, last, changes, all_keys.select(names))
        wanted = pa.Table.from_pylist(list(known.values()), schema=PLAIN.arrow_schema)
        check_same_snapshot(own, table, last, stage_table(own, table, wanted))


@pytest.mark.parametrize(
    ("values", "removed"),
    [
        (list(range(25)) + [0] * 175, [24]),  # 25 values; the rarest goes
        ([math.inf] + [0.5, 1.5] * 100, [0]),  # with infinity, values are not listed
    ],
    ids=["many values", "infinity"],
)
def test_values_that_are_left_when_others_go_are_listed(own, values, removed):
    rows = pa.Table.from_pylist([{"id": at, "x": float(x)} for at, x in enumerate(values)], schema=PLAIN.arrow_schema)
    base = stage_table(own, PLAIN, rows)
    assert "top" not in base.statistics["x"]
    merged = merge(own, PLAIN, base, rows.slice(0, 0), rows.take(removed).select(["id"]))
    left = rows.take([at for at in range(len(rows)) if at not in removed])
    check_same_snapshot(own, PLAIN, merged, stage_table(own, PLAIN, left))
    assert sum(count for _, count in merged.statistics["x"]["top"]) == len(left)


def check_same_snapshot(own, table, merged, anew) -> None:
    """See that two snapshots have the same rows in an order as it must be, and the same in indexes, statistics and coverage."""
    one, two = own.open_snapshot(merged), own.open_snapshot(anew)
    rows, wanted = everything(own, merged), everything(own, anew)
    assert merged.rows == anew.rows == rows.num_rows
    assert repr(rows.sort_by("id").to_pylist()) == repr(wanted.sort_by("id").to_pylist())
    assert sum(count for _, count in merged.parts) == merged.rows
    if table.position:
        assert one.cell_indexes.tolist() == two.cell_indexes.tolist()
        cells = compute_position_keys(rows["ra"], rows["dec"])
        assert cells.tolist() == [*one.cell_indexes.tolist(), *[MISSING_KEY] * (merged.rows - len(one.cell_indexes))]
    by = one.manifest.order
    assert by == two.manifest.order
    if by:
        assert rows[by].to_pylist() == wanted[by].to_pylist()
    number = {key: place for place, key in enumerate(rows["id"].to_pylist())}
    for files in two.manifest.keys:
        left, right = one.get_key_index(files.column), two.get_key_index(files.column)
        assert left.count == right.count
        assert (left.rows is None) or sorted(left.rows.tolist()) == sorted(
            number[key] for key in wanted["id"].take(pa.array(right.list_row_numbers(0, right.count))).to_pylist()
        )
        values, others = (
            found[files.column].take(pa.array(index.list_row_numbers(0, index.count))).to_pylist()
            for found, index in ((rows, left), (wanted, right))
        )
        assert values == others
        if left.values is not None:
            assert left.values.dtype == right.values.dtype
            assert left.values.tolist() == right.values.tolist()
    for files in two.manifest.regions:
        left, right = one.get_region_index(files.column), two.get_region_index(files.column)
        assert left.cells.tolist() == right.cells.tolist()
        pairs = [
            sorted(zip(index.cells.tolist(), found["id"].take(pa.array(index.rows)).to_pylist(), strict=True))
            for index, found in ((left, rows), (right, wanted))
        ]
        assert pairs[0] == pairs[1]
        assert left.orders == right.orders
    assert [item.column for item in one.manifest.keys] == [item.column for item in two.manifest.keys]
    for name, facts in anew.statistics.items():
        given_ = anew.rows - facts["nulls"]
        found = dict(merged.statistics[name])
        assert min(1, given_) <= found.pop("distinct", min(1, given_)) <= given_
        assert found == {key: value for key, value in facts.items() if key != "distinct"}
    assert merged.coverage == anew.coverage


# --- what is shared, and what is not ---------------------------------------------------------------------------------


def list_linked_files(engine, snapshot) -> set[tuple[int, int]]:
    return set(engine.open_snapshot(snapshot).part_names_by_inode)


def test_parts_that_no_change_touches_are_shared(own):
    table = PLAIN.copy_with(columns=(COLUMNS[0], COLUMNS[4]))
    rows = pa.table({"id": np.arange(3000), "x": np.arange(3000) / 7.0}, schema=table.arrow_schema)
    base = stage_table(own, table, rows)
    changes = pa.table({"id": [5, 1500, 9000], "x": [-1.0, -2.0, -3.0]}, schema=table.arrow_schema)
    merged = merge(own, table, base, changes)
    parts = len(base.parts)
    assert parts > 10
    # the first, one in the middle, and the last, to which is added
    assert len(list_linked_files(own, base) & list_linked_files(own, merged)) == parts - 3
    own.remove_snapshot(base)
    assert everything(own, merged)["x"].to_pylist()[:6] == [0, *(np.arange(1, 5) / 7.0).tolist(), -1.0]
    names = [path for path in (own.directory / merged.path).iterdir() if path.name != ".lock"]
    assert {path.stat().st_mode & 0o777 for path in names} == {0o444}
    left, right = (
        list(side) for side in own.read_differing_rows(merged, merge(own, table, merged, changes.slice(0, 1)))
    )
    assert 0 < sum(batch.num_rows for batch in left) == sum(batch.num_rows for batch in right) < 1000


def test_appended_rows_make_parts_of_a_usual_size(own):
    table = PLAIN.copy_with(columns=COLUMNS[:1])
    last = stage_table(own, table, pa.table({"id": np.arange(1000)}, schema=table.arrow_schema))
    usual = max(rows for _, rows in last.parts)
    for day in range(30):
        last = merge(own, table, last, pa.table({"id": np.arange(40) + 1000 + 40 * day}, schema=table.arrow_schema))
        assert max(rows for _, rows in last.parts) < 2 * usual
    assert len(last.parts) < 2 * 2200 / usual
    assert everything(own, last)["id"].to_pylist() == list(range(2200))
    assert own.open_snapshot(last).get_key_index("id").rows is None  # the stored order still is that of the key


def test_what_was_removed_makes_no_empty_parts(own):
    table = PLAIN.copy_with(columns=COLUMNS[:1])
    last = stage_table(own, table, pa.table({"id": np.arange(1000)}, schema=table.arrow_schema))
    last = merge(own, table, last, pa.table({"id": []}, schema=table.arrow_schema), pa.table({"id": np.arange(990)}))
    assert [rows for _, rows in last.parts] == [10]


def test_changes_beyond_a_run_are_spooled(own, monkeypatch):
    rows = build_sky(3000)
    base = stage_table(own, STARS, rows)
    changes = build_sky(2000, seed=3).set_column(
        0, STARS.arrow_schema.field("id"), pa.array(np.random.default_rng(4).permutation(2000) * 4)
    )
    monkeypatch.setattr(_file_staging, "MAX_WAITING_BYTES", 20_000)
    merged = merge(own, STARS, base, changes, step=100)
    known = {row["id"]: row for row in rows.to_pylist()} | {row["id"]: row for row in changes.to_pylist()}
    check_same_snapshot(
        own,
        STARS,
        merged,
        stage_table(own, STARS, pa.Table.from_pylist(list(known.values()), schema=STARS.arrow_schema)),
    )
    assert not list((own.directory / merged.path).glob("run-*"))


def test_without_links_parts_are_copied(own, monkeypatch):
    def refuse_link(_self, _target):
        raise OSError(18, "Invalid cross-device link")

    rows = build_sky(2000)
    base = stage_table(own, STARS, rows)
    monkeypatch.setattr(Path, "hardlink_to", refuse_link)
    merged = merge(own, STARS, base, rows.slice(0, 1))
    assert not list_linked_files(own, base) & list_linked_files(own, merged)
    assert everything(own, merged).sort_by("id").equals(everything(own, base).sort_by("id"))


@pytest.mark.parametrize(
    "table",
    [STARS, STARS.copy_with(position=None), STARS.copy_with(position=None, primary=("name", "id"))],
    ids=["position", "key", "none"],
)
def test_a_snapshot_of_an_older_version_is_a_base(own, table):
    rows = build_sky(2000).filter(pc.field("name").is_valid())
    base = stage_table(own, table, rows)
    path = own.directory / base.path / MANIFEST_FILE_NAME
    said = json.loads(path.read_text())
    del said["primary"], said["order"], said["revised"]
    path.chmod(0o644)
    path.write_text(json.dumps(said))
    own._open_snapshots.clear()
    merged = merge(own, table, base, rows.slice(0, 5))
    check_same_snapshot(own, table, merged, stage_table(own, table, rows))
    assert own.open_snapshot(merged).manifest.primary == table.primary
    if table.position is None and len(table.primary) == 1:
        with pytest.raises(StorageError, match="a different order"):
            own.stage_merge(table.copy_with(primary=("field",)), "other", base)


def test_a_key_that_was_none_is_proved(own):
    table = Table(
        schema="s", name="loose", columns=(Column(name="id", type=INT64), Column(name="n", type=INT64)), primary=("id",)
    )
    rows = pa.table({"id": np.arange(100), "n": np.arange(100) // 2}, schema=table.arrow_schema)
    base = stage_table(own, table, rows)
    other = table.copy_with(primary=("n",))
    with pytest.raises(StorageError, match="a different order"):
        own.stage_merge(other, "m-order", base)
    texts = [
        item.copy_with(columns=(Column(name="id", type=STRING), Column(name="n", type=STRING)))
        for item in (table, other)
    ]
    base = stage_table(
        own,
        texts[0],
        pa.table({"id": rows["id"].cast(pa.string()), "n": rows["n"].cast(pa.string())}, schema=texts[0].arrow_schema),
    )
    with pytest.raises(DataError, match="not unique: 49 keys"):
        merge(own, texts[1], base, pa.table({"id": ["x"], "n": ["0"]}, schema=texts[0].arrow_schema))


def test_indexes_follow_the_descriptor(own):
    rows = build_sky(3000)
    base = stage_table(own, STARS, rows)
    other = STARS.copy_with(
        columns=tuple(column.copy_with(indexed=column.name in {"note", "field"}) for column in STARS.columns)
    )
    merged = merge(own, other, base, rows.slice(10, 10))
    assert [files.column for files in own.open_snapshot(merged).manifest.keys] == ["id", "field", "note"]
    check_same_snapshot(own, other, merged, stage_table(own, other, rows))
    assert len(run_query(own, "SELECT id FROM sky.stars WHERE note = 'a''b'", {"sky.stars": merged})) == rows[
        "note"
    ].to_pylist().count("a'b")


def test_numbers_of_distinct_values_stay_near_the_truth(own):
    table = Table(
        schema="s",
        name="d",
        columns=(Column(name="id", type=INT64), Column(name="few", type=INT64), Column(name="many", type=STRING)),
        primary=("id",),
    )

    def build_rows(first, count):
        ids = np.arange(first, first + count)
        return pa.table(
            {"id": ids, "few": ids % 7, "many": pa.array([f"w{number // 2}" for number in ids.tolist()])},
            schema=table.arrow_schema,
        )

    last = stage_table(own, table, build_rows(0, 2000))
    for turn in range(12):
        last = merge(
            own, table, last, build_rows(2000 + 100 * turn, 100), pa.table({"id": np.arange(turn * 50, turn * 50 + 50)})
        )
    facts = last.statistics
    assert last.rows == 2000 + 12 * 50
    assert facts["id"]["distinct"] == last.rows
    assert facts["few"]["distinct"] == 7
    assert 0.9 < facts["many"]["distinct"] / (last.rows / 2) < 1.1


# --- trouble ---------------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_base(tmp_path):
    code = textwrap.dedent(
        f"""
        import resource, signal, sys
        sys.path[:0] = {[str(Path(__file__).parent)]!r}
        from pathlib import Path
        from engine_tables import STARS, build_sky, stage_table
        from hven.engines import duckdb
        from hven.model.errors import StorageError
        engine = duckdb.open(Path({str(tmp_path)!r}), memory=256 * 1024**2, threads=1)
        base = stage_table(engine, STARS, build_sky(20_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        staging = engine.stage_merge(STARS, "m", base)
        staging.write(build_sky(10).to_batches()[0])
        try:
            staging.finish()
        except StorageError as error:
            print(error)
        engine.note_published_snapshot(base)
        print(engine.remove_leftovers({{base.path}}), sum(batch.num_rows for batch in engine.read_rows(base)), len(list(Path({str(tmp_path)!r}).glob("*/*"))))
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    said, left = done.stdout.strip().split("\n")
    assert "disk is full" in said
    assert left == "[] 20000 1"


def test_a_killed_merge_leaves_nothing_but_the_base(own, tmp_path):
    """Killed at random moments; what is left is swept, and the base is whole."""
    directory = tmp_path / "snapshots"
    first = duckdb.open(directory, memory=256 * 1024**2, threads=1)
    base = stage_table(first, STARS, build_sky(20_000))
    wanted = everything(first, base)
    first.close()
    code = textwrap.dedent(
        f"""
        import sys
        sys.path[:0] = {[str(Path(__file__).parent)]!r}
        from pathlib import Path
        from engine_tables import STARS, build_sky
        from hven.engines import Snapshot, duckdb
        engine = duckdb.open(Path({str(directory)!r}), memory=256 * 1024**2, threads=1)
        base = Snapshot(id="base", table="sky.stars", path={base.path!r}, rows=20_000)
        rows = build_sky(4000, seed=8)
        print("ready", flush=True)
        for turn in range(1000):
            staging = engine.stage_merge(STARS, f"m{{turn}}", base)
            for batch in rows.to_batches(max_chunksize=500):
                staging.write(batch)
            engine.remove_snapshot(staging.finish())
        """
    )
    rng = random.Random(3)
    for _ in range(100 if os.environ.get("HVEN_PROOF") == "full" else 3):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0.0, 0.25))
            process.send_signal(signal.SIGKILL)
        engine = duckdb.open(directory, memory=256 * 1024**2, threads=1)
        engine.remove_leftovers({base.path})
        assert [str(path.relative_to(directory)) for path in directory.glob("*/*")] == [base.path]
        assert everything(engine, base).equals(wanted)
        engine.close()
    shutil.rmtree(directory)


def test_what_snapshots_share_is_counted_once(own):
    rows = build_sky(2000)
    base = stage_table(own, STARS, rows)
    alone = measure_directory_bytes(own.directory)
    merged = merge(own, STARS, base, rows.slice(0, 1))
    parts = [(own.directory / merged.path / name).stat().st_blocks * 512 for name, _ in merged.parts]
    both = measure_directory_bytes(own.directory)
    own.remove_snapshot(merged)
    assert measure_directory_bytes(own.directory) == alone
    # what it would take alone
    assert merged.bytes >= sum((own.directory / base.path / name).stat().st_size for name, _ in base.parts)
    assert alone < both < alone + measure_snapshot_bytes(own, base) - sum(parts) / 2


def test_a_directory_that_vanishes_meanwhile_counts_nothing(tmp_path, monkeypatch):
    for name in ("gone", "kept"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").write_bytes(bytes(10_000))
    scandir = os.scandir

    def list_remaining(path):
        if Path(path).name == "gone":
            (Path(path) / "part").unlink()
            Path(path).rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", list_remaining)
    used_bytes = measure_directory_bytes(tmp_path)
    assert used_bytes == (tmp_path / "kept/part").stat().st_blocks * 512 > 0


def measure_snapshot_bytes(engine, snapshot) -> int:
    return measure_directory_bytes(engine.directory / snapshot.path)
