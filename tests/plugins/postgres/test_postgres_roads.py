"""Every road of the engine postgres gives the rows that the embedded engine finds by looking at all of them."""

from __future__ import annotations

import hashlib
from functools import cached_property

import pyarrow as pa
import pytest
from engine_tables import CIRCLES, STARS, build_circles, build_sky, run_with_and_without_indexes, sort_rows, stage_table
from relations import Relations
from test_roads import (  # noqa: F401  (the same tests, with the engine of this module)
    test_a_plan_serves_other_literals,
    test_a_row_filter_holds_on_every_road,
    test_conditions,
    test_joins,
    test_mocs_are_found_by_the_position_index,
    test_order_and_top,
    test_other_forms,
    test_tables_without_key_or_position,
    test_windows_see_all_rows_of_their_query,
)

from hven.engines import MemoryRelation, Snapshot, duckdb
from hven.plugins.postgres import engine as postgres
from postgres_cluster import install_extensions, run_server


class JudgedPostgresEngine:
    """The engine postgres, which becomes the embedded one when its indexes are switched off."""

    def __init__(self, engine, judge):
        self.engine, self.judge = engine, judge
        self.uses_indexes = True
        self.twins = {}

    def stage_snapshot(self, table, snapshot):
        return DoubleStaging(self, self.engine.stage_snapshot(table, snapshot), table, snapshot)

    def plan_query(self, bound):
        if self.uses_indexes:
            return self.engine.plan_query(bound)
        return Judge(self, bound)


class DoubleStaging:
    """A staging whose rows the embedded engine is given, too, when it is asked for them."""

    def __init__(self, judged, staging, table, name):
        self.judged, self.staging, self.table, self.name = judged, staging, table, name
        self.batches = []

    def write(self, batch):
        self.staging.write(batch)
        self.batches.append(batch)

    def finish(self):
        snapshot = self.staging.finish()
        self.judged.twins[snapshot.path] = self
        return snapshot

    @cached_property
    def twin(self):
        staging = self.judged.judge.stage_snapshot(self.table, self.name)
        for batch in self.batches:
            staging.write(batch)
        return staging.finish()

    @cached_property
    def rows(self):
        return pa.Table.from_batches(self.batches, self.table.arrow_schema)


class Judge:
    """A plan of the embedded engine over the twins of snapshots; what it found is kept for whoever asks the same of the same rows."""

    def __init__(self, judged, bound):
        self.judged, self.bound = judged, bound
        self.small = False

    def execute(self, values, relations, limits):
        held = {
            name: self.judged.twins[item.path] if isinstance(item, Snapshot) else item
            for name, item in relations.items()
        }
        asked = (
            repr(self.bound),
            repr(values),
            limits.row_limit,
            *(f"{name} {hash_rows(item.rows)}" for name, item in held.items()),
        )
        if asked not in _found:
            self.judged.judge.uses_indexes = False
            twins = {name: item.twin if isinstance(item, DoubleStaging) else item for name, item in held.items()}
            execution = self.judged.judge.plan_query(self.bound).execute(values, twins, limits)
            _found[asked] = pa.Table.from_batches(execution, schema=execution.schema)
        return _found[asked].to_reader()


_found: dict[tuple, pa.Table] = {}


def hash_rows(rows: pa.Table) -> str:
    """Tell rows from other rows."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows.combine_chunks())
    return hashlib.blake2b(sink.getvalue()).hexdigest()


@pytest.fixture(scope="module")
def database():
    with run_server() as url:
        yield f"postgresql://{url}"


@pytest.fixture(scope="module", params=["pgsphere", "q3c", "healpix"])
def engine(request, database, tmp_path_factory):
    install_extensions(database)
    directory = tmp_path_factory.mktemp("snapshots")
    judge = duckdb.open(directory, memory=256 * 1024**2, threads=1)
    opened = postgres.open(
        directory, memory=256 * 1024**2, threads=1, url=database, schema=request.param, position=request.param
    )
    yield JudgedPostgresEngine(opened, judge)
    opened.close()
    judge.close()


@pytest.fixture(scope="module")
def relations(engine):
    return Relations(
        {
            "sky.stars": stage_table(engine, STARS, build_sky(13_000)),
            CIRCLES.qualified_name: MemoryRelation(build_circles(60)),
        }
    )


def test_what_has_no_value_is_null_in_both(engine, relations):
    """Boxes without a width and cells of no order, in rows that have all that the function asks for."""
    box = "BOX(10, 10, field, 20)"
    for text in (
        f"SELECT id, AREA({box}) AS a, COORD1(CENTROID({box})) AS x, IVO_HEALPIX_INDEX(field, 10, 20) AS h FROM sky.stars WHERE id < 2600",
        f"SELECT id, INTERSECTS({box}, CIRCLE(ra, dec, 1)) AS i FROM sky.stars WHERE field IS NOT NULL AND id < 2600",
        f"SELECT id FROM sky.stars WHERE 0 = CONTAINS(POINT(10, 10), {box}) AND id < 2600",
        "SELECT TOP 1 AREA(BOX(10, 10, 0, 20)) AS a, IVO_HEALPIX_INDEX(30, 1, 1) AS h FROM sky.stars",
    ):
        found, wanted = run_with_and_without_indexes(engine, text, relations)
        assert sort_rows(found) == sort_rows(wanted), text
    assert found == [(None, None)]


@pytest.mark.parametrize("tiny", ["5e-324", "-5e-324", "1e-200"])
def test_numbers_next_to_zero_are_as_good_as_zero(engine, relations, tiny):
    """Radians, squares and quotients of them are 0 in the embedded engine, and an error in PostgreSQL: underflow."""
    size = tiny.lstrip("-")
    shapes = [
        f"BOX(10, {tiny}, 20, 20)",
        f"BOX(10, 20, {size}, 1)",
        f"BOX(10, 20, 1, {size})",
        f"POLYGON(10, {tiny}, 30, {tiny}, 20, 20)",
    ]
    shapes += [f"CIRCLE(10, {tiny}, 20)", f"CIRCLE({tiny}, 10, 20)", f"CIRCLE(10, 20, {size})"]
    texts = [f"SELECT id FROM sky.stars WHERE 1 = CONTAINS(POINT(ra, dec), {shape})" for shape in shapes]
    texts += [
        f"SELECT id FROM sky.stars WHERE 1 = INTERSECTS({shape}, CIRCLE(ra, dec, 1)) AND field = 3" for shape in shapes
    ]
    texts += [
        f"SELECT id FROM sky.stars WHERE DISTANCE(ra, dec, {pair}) < 20" for pair in (f"10, {tiny}", f"{tiny}, 10")
    ]
    texts.append(
        f"SELECT TOP 1 IVO_HEALPIX_INDEX(6, 10, {tiny}) AS c, IVO_HEALPIX_INDEX(6, {tiny}, 10) AS d FROM sky.stars"
    )
    for text in texts:
        found, wanted = run_with_and_without_indexes(engine, text, relations)
        assert sort_rows(found) == sort_rows(wanted), text
    areas = ", ".join(f"AREA({shape}) AS a{number}" for number, shape in enumerate(shapes))
    [found], [wanted] = run_with_and_without_indexes(engine, f"SELECT TOP 1 {areas} FROM sky.stars", relations)
    assert found == pytest.approx(wanted, rel=1e-9, abs=1e-12)
