"""A cone outside of what a table covers is answered without its rows by the engine postgres, too; and it tells nothing of rows that its reader may not see."""

from __future__ import annotations

import contextlib

import pytest
from test_outside import (  # noqa: F401  (the same tests, with the engine of this module)
    build_world,
    test_another_place_for_the_same_plan,
    test_the_coverage_of_hidden_rows_tells_nothing,
    test_what_lies_outside_is_answered_without_the_rows,
    test_what_needs_the_rows_has_them,
)

from hven.plugins.postgres import engine as postgres
from postgres_cluster import run_server


class Database:
    """A database, whose tables may be locked."""

    can_lock_tables = True

    def __init__(self, directory):
        self._server = run_server()
        self.url = f"postgresql://{self._server.__enter__()}"
        self.engine = postgres.open(directory, memory=1 << 28, threads=1, url=self.url)

    @contextlib.contextmanager
    def away(self, snapshot):
        import psycopg

        with psycopg.connect(self.url) as connection:
            connection.execute(f'LOCK TABLE hven."{snapshot.path}" IN ACCESS EXCLUSIVE MODE')
            yield

    def close(self):
        self.engine.close()
        self._server.__exit__(None, None, None)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    found = Database(tmp_path_factory.mktemp("snapshots"))
    yield build_world(found)
    found.close()
