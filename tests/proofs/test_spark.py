"""What ADQL means on Spark: the tests of constructs, functions, windows, arrays, recursion, random queries and the corpus, run by the far road."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from pathlib import Path

import pyarrow as pa
import pytest

import adql_running
from hven.engines import Limits, Memory
from hven.engines.hats.cluster import Cluster
from hven.engines.hats.far import Elsewhere, FarPlan
from spark import cluster

FULL = pytest.mark.skipif(os.environ.get("HVEN_PROOF") != "full", reason="scripts/proof runs it")
pytestmark = [FULL, pytest.mark.outside]
ELSEWHERE: dict[str, int] = {}  # what Spark does not compute -> how often it was asked
NOTYET: dict[str, str] = {}  # test -> what Spark gives instead; strictly: one that passes is a failure
THEIRS = (
    "test_arrays", "test_bind_corpus", "test_constructs", "test_functions", "test_generated", "test_recursion", "test_refused_early", "test_vocabularies", "test_windows",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def far():
    with cluster() as spark:
        opened = Cluster(spark.url)

        def run(bound, pairs):
            relations = {table.qualified: Memory(rows) for table, rows in pairs}
            try:
                plan = FarPlan(opened, bound)
                execution = plan.execute(bound.slots, relations, Limits(), {})
                return pa.Table.from_batches(execution, schema=execution.schema)
            except Elsewhere as reason:
                ELSEWHERE[str(reason)] = ELSEWHERE.get(str(reason), 0) + 1
                return adql_running.embedded(bound, pairs)

        adql_running.ELSEWHERE.append(run)
        yield opened
        adql_running.ELSEWHERE.pop()
        opened.close()


def _taken(name: str) -> None:
    """Take over the tests of a module that ask the running database, with its fixtures."""
    path = Path(__file__).parents[1] / "adql" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"spark_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    for key, item in vars(module).items():
        if type(item).__name__ == "FixtureFunctionDefinition":
            globals()[key] = item
        if key.startswith("test_") and callable(item):
            inner = getattr(item, "hypothesis", None)
            source = inspect.getsource(inner.inner_test if inner else item)
            if not any(word in source for word in ("run(", "value(", "same(", "check(", "executed(")):
                continue
            if key in NOTYET:
                item = pytest.mark.xfail(reason=NOTYET[key], strict=True)(item)  # noqa: PLW2901  (the marked one)
            globals()[f"{key}__{name.removeprefix('test_')}"] = item


for _name in THEIRS:
    _taken(_name)


def test_what_spark_does_not_compute_is_little(capsys):
    """Print what the embedded engine would compute."""
    with capsys.disabled():
        print(f"\nfar road: {sum(ELSEWHERE.values())} queries of the tests of ADQL are computed elsewhere: {ELSEWHERE}")
    assert len(ELSEWHERE) < 25
