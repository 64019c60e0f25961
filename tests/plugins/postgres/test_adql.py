"""What ADQL means in PostgreSQL: the tests of constructs, functions, windows, arrays, recursion, random queries and the corpus, run by the engine postgres."""

from __future__ import annotations

import importlib.util
import inspect
import sys

import pyarrow as pa
import pytest

import adql_runner
from hven.engines import ExecutionLimits, MemoryRelation
from hven.plugins.postgres import engine as postgres
from postgres_cluster import install_extensions, run_server
from shared import ROOT

NOTYET: dict[str, str] = {}  # test -> what PostgreSQL gives instead; strictly: one that passes is a failure
THEIRS = (
    "test_arrays", "test_bind_corpus", "test_constructs", "test_functions", "test_generated", "test_recursion", "test_refused_early", "test_vocabularies", "test_windows",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def engine(tmp_path_factory):
    with run_server() as url:
        install_extensions(f"postgresql://{url}")
        opened = postgres.open(
            tmp_path_factory.mktemp("engine"), memory=256 * 1024**2, threads=1, url=f"postgresql://{url}"
        )

        def run(bound, pairs):
            execution = opened.plan_query(bound).execute(
                bound.literal_values,
                {table.qualified_name: MemoryRelation(rows) for table, rows in pairs},
                ExecutionLimits(),
            )
            return pa.Table.from_batches(execution, schema=execution.schema)

        adql_runner.OTHER_RUNNERS.append(run)
        yield opened
        adql_runner.OTHER_RUNNERS.pop()
        opened.close()


def _adopt_tests(name: str) -> None:
    """Take over the tests of a module that ask the running database, with its fixtures."""
    spec = importlib.util.spec_from_file_location(f"postgres_{name}", ROOT / f"tests/adql/{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    for key, item in vars(module).items():
        if type(item).__name__ == "FixtureFunctionDefinition":
            globals()[key] = item
        if key.startswith("test_") and callable(item):
            inner = getattr(item, "hypothesis", None)
            source = inspect.getsource(inner.inner_test if inner else item)
            if not any(
                word in source
                for word in (
                    "run(",
                    "run_query(",
                    "query_rows(",
                    "value(",
                    "evaluate_expression(",
                    "same(",
                    "check(",
                    "count_executed_queries(",
                )
            ):
                continue
            if key in NOTYET:
                item = pytest.mark.xfail(reason=NOTYET[key], strict=True)(item)  # noqa: PLW2901  (the marked one)
            globals()[f"{key}__{name.removeprefix('test_')}"] = item


for _name in THEIRS:
    _adopt_tests(_name)


def test_nothing_is_not_yet(capsys):
    """Print how much PostgreSQL does not do; ADQL 2.1 requires that it is nothing."""
    with capsys.disabled():
        print(
            f"\nengine postgres: {len(NOTYET)} tests of ADQL are notyet{''.join(f'; {name}: {why}' for name, why in NOTYET.items())}"
        )
    assert not NOTYET
