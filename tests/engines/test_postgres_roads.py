"""Every road of the engine postgres gives the rows that the embedded engine finds by looking at all of them."""

from __future__ import annotations

import pytest
from relations import Relations
from rows import LIST, STARS, circles, sky, stage
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

from hven.engines import Memory, Snapshot, duckdb, postgres
from postgres import server, sphere


class Judged:
    """The engine postgres, which becomes the embedded one when its indexes are switched off."""

    def __init__(self, engine, judge):
        self.engine, self.judge = engine, judge
        self.indexes = True
        self.twins = {}

    def stage(self, table, snapshot):
        return Twice(self, self.engine.stage(table, snapshot), self.judge.stage(table, snapshot))

    def prepare(self, bound):
        if self.indexes:
            return self.engine.prepare(bound)
        return Judge(self, self.judge.prepare(bound))


class Twice:
    """A staging in both engines."""

    def __init__(self, judged, one, two):
        self.judged, self.one, self.two = judged, one, two

    def write(self, batch):
        self.one.write(batch)
        self.two.write(batch)

    def finish(self):
        snapshot = self.one.finish()
        self.judged.twins[snapshot.path] = self.two.finish()
        return snapshot


class Judge:
    """A plan of the embedded engine over the twins of snapshots."""

    def __init__(self, judged, plan):
        self.judged, self.plan = judged, plan
        self.small = plan.small

    def execute(self, values, relations, limits):
        twins = {name: self.judged.twins[item.path] if isinstance(item, Snapshot) else item for name, item in relations.items()}
        self.judged.judge.indexes = False
        return self.plan.execute(values, twins, limits)


@pytest.fixture(scope="module")
def database():
    with server() as url:
        yield f"postgresql://{url}"


@pytest.fixture(scope="module", params=["pgsphere", "q3c", "healpix"])
def engine(request, database, tmp_path_factory):
    sphere(database)
    directory = tmp_path_factory.mktemp("snapshots")
    judge = duckdb.open(directory, memory=256 * 1024**2, threads=1)
    opened = postgres.open(directory, memory=256 * 1024**2, threads=1, url=database, schema=request.param, position=request.param)
    yield Judged(opened, judge)
    opened.close()
    judge.close()


@pytest.fixture(scope="module")
def relations(engine):
    return Relations({"sky.stars": stage(engine, STARS, sky(13_000)), LIST.qualified: Memory(circles(60))})
