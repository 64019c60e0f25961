"""What the engine asks of a cluster, whichever package brings it: a plan, files of tables, and what happens without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hven.adql import bind_query, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.adql.syntax_tree import FunctionCall, walk_tree
from hven.engines import DelegatingExecution, ExecutionLimits, MemoryRelation, duckdb
from hven.model import plugins
from hven.model.errors import TooLargeError
from hven.model.settings import Settings
from hven.plugins.hats.clusters import ClusterDefinition, UnsupportedByClusterError, find_cluster_opener
from hven.plugins.hats.engine import open as open_hats
from hven.testing.engine import STARS_TABLE, make_star_table

COUNT = "SELECT COUNT(*) AS n, MIN(mag) AS m FROM sky.stars WHERE mag < 0.4"
FEW_BYTES = 10_000  # less than the files have, and more than the rows that the condition leaves
ROOT = "SELECT MAX(SQRT(mag)) AS s FROM sky.stars WHERE mag < 0.4"


class RefusedExecution(DelegatingExecution):
    """A query that the cluster refuses when it runs."""

    def __init__(self, schema: pa.Schema, run_fallback: Any) -> None:
        super().__init__(schema)
        self._run_fallback = run_fallback

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        yield from self._adopt_execution(self._run_fallback("it is Tuesday"))


class ReadingPlan:
    """A plan that reads the files that it is given."""

    def __init__(self, cluster: ReadingCluster, bound_query: Any) -> None:
        self.cluster = cluster
        self.plan = cluster.engine.plan_query(bound_query)

    def execute(
        self, literal_values: Any, relations: Any, limits: Any, files_by_table: Any, *, run_fallback: Any, **_: Any
    ) -> Any:
        self.cluster.files += [path for paths in files_by_table.values() for path in paths]
        if self.cluster.refuses:
            self.cluster.refuses = False
            return RefusedExecution(self.plan.schema, run_fallback)
        rows = {
            name: MemoryRelation(pa.concat_tables(pq.read_table(path) for path in paths).drop_columns("_healpix_29"))
            for name, paths in files_by_table.items()
        }
        return self.plan.execute(literal_values, {**relations, **rows}, limits)


class ReadingCluster:
    """A cluster in this process, which knows no square roots."""

    def __init__(self, directory: Path) -> None:
        self.engine = duckdb.open(directory, memory=1 << 28, threads=1)
        self.files: list[str] = []
        self.refuses = False
        self.outage: str | None = None
        self.is_closed = False

    def plan_query(self, bound_query: Any) -> ReadingPlan:
        if any(isinstance(node, FunctionCall) and node.name == "SQRT" for node in walk_tree(bound_query.query)):
            raise UnsupportedByClusterError("a square root")
        return ReadingPlan(self, bound_query)

    def find_outage(self) -> str | None:
        return self.outage

    def close(self) -> None:
        self.is_closed = True
        self.engine.close()


@contextmanager
def open_engine(directory: Path, **options: Any) -> Iterator[tuple[Any, Any]]:
    """Open an engine with a table of stars."""
    engine: Any = open_hats(directory / "s", memory=1 << 28, roots=[str(directory / "hats")], near_bytes=0, **options)
    staging = engine.stage_snapshot(STARS_TABLE, "a")
    for batch in make_star_table().to_batches():
        staging.write(batch)
    yield engine, staging.finish()
    engine.close()


def run_query(engine: Any, snapshot: Any, text: str) -> list[dict[str, Any]]:
    bound = bind_query(parse_query(text), StaticTableCatalogue([STARS_TABLE]))
    execution = engine.plan_query(bound).execute(bound.literal_values, {"sky.stars": snapshot}, ExecutionLimits())
    rows: list[dict[str, Any]] = pa.Table.from_batches(execution, schema=execution.schema).to_pylist()
    return rows


def compute_here(text: str, directory: Path) -> list[dict[str, Any]]:
    engine = duckdb.open(directory, memory=1 << 28, threads=1)
    rows = run_query(engine, MemoryRelation(make_star_table(), is_stored=True), text)
    engine.close()
    return rows


def test_a_cluster_computes_what_is_too_much_here(tmp_path: Path) -> None:
    cluster = ReadingCluster(tmp_path / "cluster")
    with open_engine(tmp_path, open_cluster=lambda: cluster) as (engine, snapshot):
        assert engine.find_degradation() is None  # it was not needed yet
        cluster.outage = "it is away"
        assert run_query(engine, snapshot, COUNT) == compute_here(COUNT, tmp_path / "here")
        assert cluster.files
        assert all(Path(path).is_file() for path in cluster.files)
        assert engine.find_degradation() == "it is away"
    assert cluster.is_closed


@pytest.mark.parametrize("refuses", [False, True])
def test_what_a_cluster_refuses_is_computed_here_over_rows_that_it_gives(tmp_path: Path, refuses: bool) -> None:
    cluster = ReadingCluster(tmp_path / "cluster")
    cluster.refuses = refuses  # when it runs; otherwise a square root when it is planned
    text = COUNT if refuses else ROOT
    with open_engine(tmp_path, open_cluster=lambda: cluster) as (engine, snapshot):
        engine.near_bytes = FEW_BYTES  # so much may be fetched, too
        assert run_query(engine, snapshot, text) == compute_here(text, tmp_path / "here")
        assert cluster.files
        engine.near_bytes = 1
        cluster.refuses = refuses
        with pytest.raises(TooLargeError, match=r"would have to fetch more than 1 bytes of sky\.stars"):
            run_query(engine, snapshot, text)


def test_without_a_cluster_it_is_told_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_engine(tmp_path) as (engine, snapshot):
        for definitions, words in (
            ((), "the site's operators can allow more (near_bytes) under [hats] in hven.toml"),
            (("heap",), "the site's operators can name a cluster (heap) or allow more (near_bytes) under [hats] in"),
        ):
            modules = tuple(
                SimpleNamespace(CLUSTER=ClusterDefinition(setting=name, find_opener=lambda _: None))
                for name in definitions
            )
            monkeypatch.setattr(plugins, "load_extensions", lambda _, modules=modules: modules)
            with pytest.raises(TooLargeError) as raised:
                run_query(engine, snapshot, COUNT)
            assert words in raised.value.remedy


def test_the_first_cluster_that_the_settings_name_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = ReadingCluster(tmp_path / "cluster")
    openers = (None, lambda: cluster, pytest.fail)
    modules = [
        SimpleNamespace(CLUSTER=ClusterDefinition(setting="x", find_opener=lambda _, opener=opener: opener))
        for opener in openers
    ]
    monkeypatch.setattr(plugins, "load_extensions", lambda _: tuple(modules))
    opener = find_cluster_opener(Settings(directory=tmp_path))
    assert opener is not None
    assert opener() is cluster
    cluster.close()
    monkeypatch.setattr(plugins, "load_extensions", lambda _: ())
    assert find_cluster_opener(Settings(directory=tmp_path)) is None
