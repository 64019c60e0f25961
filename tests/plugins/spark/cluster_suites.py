"""The tests of ADQL (constructs, functions, windows, arrays, recursion, random queries, corpus) on a Spark cluster."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa
import pytest

import adql_runner
from hven.engines import ExecutionLimits, MemoryRelation
from hven.plugins.hats.clusters import UnsupportedByClusterError
from hven.plugins.spark.cluster import SparkCluster
from hven.plugins.spark.cluster_plan import SparkClusterPlan
from shared import ROOT

TEST_MODULES = (
    "test_arrays", "test_bind_corpus", "test_constructs", "test_functions", "test_generated", "test_recursion", "test_refused_early", "test_vocabularies", "test_windows",
)  # fmt: skip


def build_suites(open_cluster: Callable[[], AbstractContextManager[Any]], max_other_queries: int) -> dict[str, Any]:
    """Build the members of a module that runs the tests of ADQL on a cluster.

    Parameters
    ----------
    open_cluster
        Opens a cluster with a `url`.
    max_other_queries
        How many of the queries the embedded engine may compute instead.
    """
    elsewhere: Counter[str] = Counter()

    @pytest.fixture(scope="module", autouse=True)
    def far() -> Iterator[SparkCluster]:
        with open_cluster() as running:
            opened = SparkCluster(running.url)
            opened.get_session()  # the version decides how SQL is written

            def run_on_cluster(bound: Any, pairs: Any) -> pa.Table:
                relations = {table.qualified_name: MemoryRelation(rows) for table, rows in pairs}
                try:
                    plan = SparkClusterPlan(opened, bound)
                    execution = plan.execute(bound.literal_values, relations, ExecutionLimits(), {})
                    return pa.Table.from_batches(execution, schema=execution.schema)
                except UnsupportedByClusterError as reason:
                    elsewhere[str(reason)] += 1
                    return adql_runner.run_in_duckdb(bound, pairs)

            adql_runner.OTHER_RUNNERS.append(run_on_cluster)
            yield opened
            adql_runner.OTHER_RUNNERS.pop()
            opened.close()

    def test_what_is_computed_elsewhere_is_little(capsys: pytest.CaptureFixture[str]) -> None:
        with capsys.disabled():
            print(
                f"\nfar road: {elsewhere.total()} queries of the tests of ADQL are computed elsewhere: {dict(elsewhere)}"
            )
        assert elsewhere.total() <= max_other_queries

    made: dict[str, Any] = {"far": far}
    for name in TEST_MODULES:
        made |= _load_tests(name)
    return made | {"test_what_is_computed_elsewhere_is_little": test_what_is_computed_elsewhere_is_little}


def _load_tests(name: str) -> dict[str, Any]:
    """Load the tests of a module that run queries, and its fixtures."""
    path = ROOT / "tests/adql" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"far_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found: dict[str, Any] = {}
    for key, item in vars(module).items():
        if type(item).__name__ == "FixtureFunctionDefinition":
            found[key] = item
        if key.startswith("test_") and callable(item):
            inner = getattr(item, "hypothesis", None)
            source = inspect.getsource(inner.inner_test if inner else item)
            if not any(
                word in source
                for word in (
                    "run(",
                    "run_query(",
                    "value(",
                    "evaluate_expression(",
                    "same(",
                    "check(",
                    "count_executed_queries(",
                )
            ):
                continue
            found[f"{key}__{name.removeprefix('test_')}"] = item
    return found
