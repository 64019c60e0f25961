"""The engine postgres keeps the contract, in all three ways to find positions: all of it in one, what they may change in each."""

from __future__ import annotations

import itertools

import pytest

from hven.plugins.postgres import engine as postgres
from hven.testing.engine import EngineContract
from postgres_cluster import install_extensions, run_server

_count = itertools.count()


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    with run_server() as url:
        yield f"postgresql://{url}"


class _Contract(EngineContract):
    position = ""

    @pytest.fixture(autouse=True)
    def _server(self, database):
        if self.position != "healpix":
            install_extensions(database)
        self.url = database

    def open(self, directory):
        return postgres.open(
            directory,
            memory=256 * 1024**2,
            threads=1,
            url=self.url,
            pool=10,
            schema=f"hven{next(_count)}",
            position=self.position,
        )


class TestPgSphere(_Contract):
    position = "pgsphere"


class _OtherWay(_Contract):
    """What a way may change: the index of a snapshot that is staged or merged, and the conditions of positions."""

    test_the_primary_key_is_unique = None
    test_an_abandoned_staging_leaves_nothing = None
    test_a_dropped_snapshot_serves_its_readers = None
    test_remove_leftovers_keeps_listed_and_unpublished = None
    test_differing_rows_include_all_differences = None
    test_invalid_merges_are_refused = None
    test_conditions_order_and_groups = None
    test_batches_have_the_types_of_the_query = None
    test_an_execution_returns_one_row_more_than_the_limit = None
    test_uncomputable_values_are_errors_or_null = None
    test_timeouts_and_cancellation = None
    test_threads_do_not_disturb_each_other = None


class TestQ3C(_OtherWay):
    position = "q3c"


class TestHealpix(_OtherWay):
    position = "healpix"
