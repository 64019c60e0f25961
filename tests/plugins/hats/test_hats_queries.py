"""What ADQL means over HATS: random queries and constructs, answered from catalogues by the near road, with the embedded engine's rows."""

from __future__ import annotations

import importlib.util
import inspect
import sys

import pyarrow as pa
import pytest

import adql_runner
from hven.engines import ExecutionLimits
from hven.plugins.hats import engine as hats
from hven.plugins.hats import hats_layout
from shared import ROOT

THEIRS = ("test_constructs", "test_generated", "test_recursion")


@pytest.fixture(scope="module", autouse=True)
def engine(tmp_path_factory):
    home = tmp_path_factory.mktemp("engine")
    opened = hats.open(home / "snapshots", memory=1 << 28, roots=[str(home / "root")], threads=1)
    known = {}

    def stage_once(table, rows):
        """Stage the rows of a table once; keys of the harness need not be unique."""
        key = (table.qualified_name, id(rows))
        if key not in known:
            staging = opened.stage_snapshot(table.copy_with(primary=()), f"s{len(known)}")
            for batch in rows.to_batches():
                staging.write(batch)
            known[key] = staging.finish(), rows
        return known[key][0]

    def run(bound, pairs):
        relations = {table.qualified_name: stage_once(table, rows) for table, rows in pairs}
        execution = opened.plan_query(bound).execute(bound.literal_values, relations, ExecutionLimits())
        return pa.Table.from_batches(execution, schema=execution.schema)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hats_layout, "ROW_GROUP_ROWS", 2)
        adql_runner.OTHER_RUNNERS.append(run)
        yield opened
        adql_runner.OTHER_RUNNERS.pop()
    opened.close()


def _adopt_tests(name: str) -> None:
    """Take over the tests of a module that ask the running database, with its fixtures."""
    spec = importlib.util.spec_from_file_location(f"hats_{name}", ROOT / "tests/adql" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    for key, item in vars(module).items():
        if type(item).__name__ == "FixtureFunctionDefinition":
            globals()[key] = item
        if key.startswith("test_") and callable(item):
            inner = getattr(item, "hypothesis", None)
            source = inspect.getsource(inner.inner_test if inner else item)
            if any(
                word in source
                for word in ("run(", "run_query(", "same(", "answer(", "query_rows(", "evaluate_expression(")
            ):
                globals()[f"{key}__{name.removeprefix('test_')}"] = item


for _name in THEIRS:
    _adopt_tests(_name)
