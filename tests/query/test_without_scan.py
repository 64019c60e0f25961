"""What is answered without a look at every row: the road is proven by the rows that are read, for readers who see all and who see half."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from hven import query
from hven.engines.duckdb.engine import DuckEngine
from hven.engines.duckdb.snapshot_files import ColumnProjection
from hven.model.table import Table, build_columns_from_arrow
from hven.query import _planning
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_tiny_site

ROWS = 200_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    rng = np.random.default_rng(3)
    mag = rng.permutation(ROWS) / 7.0
    rows = pa.table(
        {"n": np.arange(ROWS), "mag": pa.array(mag, mask=rng.random(ROWS) < 0.1), "other": rng.random(ROWS)}
    )
    columns = tuple(replace(column, indexed=column.name == "mag") for column in build_columns_from_arrow(rows.schema))
    with open_tiny_site(
        tmp_path_factory.mktemp("scan"), {"s.t": (Table(schema="s", name="t", columns=columns), rows)}
    ) as opened:
        yield opened


class ScanCounter:
    """Counts the rows that are read by number, and the queries that DuckDB runs."""

    rows = 0
    queries = 0


@pytest.fixture
def scan_counter(monkeypatch: pytest.MonkeyPatch) -> ScanCounter:
    found = ScanCounter()
    take, span, run = ColumnProjection.take_ascending_rows, ColumnProjection.iterate_row_range, DuckEngine.run_sql

    def count_taken_rows(self: ColumnProjection, rows: np.ndarray) -> pa.RecordBatch:
        found.rows += len(rows)
        return take(self, rows)

    def count_spanned_rows(self: ColumnProjection, begin: int, end: int) -> Iterator[pa.RecordBatch]:
        found.rows += end - begin
        return span(self, begin, end)

    def ran(self: DuckEngine, *given: object, **more: object) -> object:
        found.queries += 1
        return run(self, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(ColumnProjection, "take_ascending_rows", count_taken_rows)
    monkeypatch.setattr(ColumnProjection, "iterate_row_range", count_spanned_rows)
    monkeypatch.setattr(DuckEngine, "run_sql", ran)
    return found


def ask(site: Site, text: str, *, half: bool) -> list[dict[str, object]]:
    with query.run_query(
        text, site=site, policies=build_odd_rows_hidden_policies("n") if half else DEFAULT_POLICIES
    ) as result:
        return [row for batch in result.iterate_batches() for row in batch.to_pylist()]


def explain_query(site: Site, text: str, *, half: bool) -> str:
    if not half:
        return query.explain_query(text, ANONYMOUS_PRINCIPAL, site=site)
    policies = build_odd_rows_hidden_policies("n")  # a reader is told the plan without the policy: this one runs
    request = _planning.create_query_request(text, ANONYMOUS_PRINCIPAL, site, policies)
    return _planning.plan_query(request).prepared.plan.explain()


COUNT = "SELECT COUNT(*) AS c FROM s.t"


def test_count_is_known(site: Site, scan_counter: ScanCounter) -> None:
    assert ask(site, COUNT, half=False) == [{"c": ROWS}]
    assert (scan_counter.rows, scan_counter.queries) == (0, 0)
    assert explain_query(site, COUNT, half=False).startswith(
        "without DuckDB: the number of rows is known; no row is read\n"
    )


def test_count_of_who_sees_half_is_counted(site: Site, scan_counter: ScanCounter) -> None:
    """What is known of all rows is not told to who sees some of them."""
    assert ask(site, COUNT, half=True) == [{"c": ROWS // 2}]
    assert scan_counter.queries == 1
    assert "is known" not in explain_query(site, COUNT, half=True)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("direction", ["ASC", "DESC"])
@pytest.mark.parametrize("condition", ["", " WHERE mag IS NOT NULL", " WHERE mag > 50", " WHERE other < 0.5"])
def test_the_top_by_an_index_reads_few_rows(
    site: Site, scan_counter: ScanCounter, half: bool, direction: str, condition: str
) -> None:
    text = f"SELECT TOP 10 n, mag, other FROM s.t{condition} ORDER BY mag {direction}"
    found = ask(site, text, half=half)
    assert scan_counter.queries == 0
    assert 10 <= scan_counter.rows < 5000
    assert explain_query(site, text, half=half).startswith(
        "without DuckDB: rows in the order of the index of mag, until there are enough\n"
    )
    site.embedded_engine.uses_indexes = False  # type: ignore[attr-defined]
    try:
        assert found == ask(site, text, half=half)
    finally:
        site.embedded_engine.uses_indexes = True  # type: ignore[attr-defined]
    assert scan_counter.queries == 1
    assert len(found) == 10
    assert not half or all(row["n"] % 2 == 0 for row in found)  # type: ignore[operator]


@pytest.mark.parametrize("half", [False, True])
def test_the_top_by_another_column_looks_at_all(site: Site, scan_counter: ScanCounter, half: bool) -> None:
    text = "SELECT TOP 10 n, other FROM s.t ORDER BY other"
    assert len(ask(site, text, half=half)) == 10
    assert scan_counter.queries == 1
    assert "in the order of the index" not in explain_query(site, text, half=half)
