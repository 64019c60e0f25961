"""Run the queries of `random_queries` and check the outcome: the declared columns, or a query error with a position."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from asgi_client import Client

from adql_runner import run_in_duckdb
from hven import query as query_pipeline
from hven.adql import bind_query, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.jobs._worker import run_next_job
from hven.model.errors import EvaluationError, HvenError, QueryError, TimeLimitError, TooLargeError
from hven.site import Site
from hven.site.auth import AccessPolicy
from hven.site.auth._access_control import DEFAULT_POLICIES
from query_tables import PUBLISHED_TABLES, TABLES, UPLOADED_TABLES
from random_queries import write_random_query

UPLOADS = {table.qualified_name: (table, rows) for table, rows in UPLOADED_TABLES}
MAX_ROWS = 2_000
# what may differ from one run to the next: chances, the order of equal rows, the rows that a limit leaves; and from
# one engine to the next: the
# rounding that a spread of equal numbers is made of, and whether the double beside BIGINT's largest is equal to that
RANDOM_FUNCTIONS = re.compile(r"\b(RAND|IVO_NORMAL_RANDOM|GAVO_NORMAL_RANDOM)\b", re.IGNORECASE)
NONDETERMINISTIC_WORDS = re.compile(
    r"\b(RAND|IVO_NORMAL_RANDOM|GAVO_NORMAL_RANDOM|IVO_STRING_AGG|TOP|OFFSET|OVER|STDDEV|VARIANCE|9223372036854775808)\b",
    re.IGNORECASE,
)


def run_query(site: Site, text: str, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES) -> pa.Table | HvenError:
    """Run a query; return its rows, or the error that the user gets."""
    try:
        with query_pipeline.run_query(
            text, site=site, uploads=UPLOADS, maxrec=MAX_ROWS, timeout_seconds=60, policies=policies
        ) as result:
            columns = result.columns
            answer = pa.Table.from_batches(
                result.iterate_batches(), schema=pa.schema([(column.name, column.type.arrow) for column in columns])
            )
    except (QueryError, TooLargeError, TimeLimitError) as error:
        return error
    assert len({name.lower() for name in answer.column_names}) == len(columns)
    return answer


def check_seed(site: Site, seed: int) -> pa.Table | HvenError:
    """Run the query of a seed; fail with the seed if it ends in anything but an answer or a query error."""
    return check_query(site, write_random_query(seed, TABLES), f"seed {seed}")


def check_query(site: Site, text: str, name: str) -> pa.Table | HvenError:
    """Run a query; fail with its name if it ends in anything but an answer or a query error."""
    try:
        answer = run_query(site, text)
    except Exception as error:
        raise AssertionError(f"{name}: {type(error).__name__}: {error}\n{text}") from error
    if isinstance(answer, QueryError):
        assert answer.line, f"{name}: no place: {answer}\n{text}"
        assert "report" not in str(answer), f"{name}: {answer}\n{text}"
    return answer


def compare_sync_and_async(client: Client, site: Site, seed: int) -> str:
    """Run the query of a seed over HTTP synchronously and as a job, and compare both.

    Returns the phase of the job, or an empty text if the query cannot be run in both ways.
    """
    text = write_random_query(seed, TABLES)
    if "TAP_UPLOAD" in text or RANDOM_FUNCTIONS.search(text):
        return ""
    given = {"LANG": "ADQL", "RESPONSEFORMAT": "csv", "MAXREC": 500, "QUERY": text}
    sync = client.post("/tap/sync", **given)
    assert sync.status in {200, 400, 413}, f"seed {seed}: {sync.status} {sync.text}\n{text}"
    made = client.post("/tap/async", **given, PHASE="RUN")
    assert made.status == 303, f"seed {seed}: {made.status} {made.text}\n{text}"
    run_next_job(site)
    path = "/tap/async" + made.headers["location"].partition("/tap/async")[2]
    phase = client.get(path + "/phase").text
    assert phase == ("COMPLETED" if sync.status == 200 else "ERROR"), f"seed {seed}: {phase}, {sync.status}\n{text}"
    if phase == "COMPLETED" and not NONDETERMINISTIC_WORDS.search(text):
        result = client.get(path + "/results/result").body
        assert sorted(result.splitlines()) == sorted(sync.body.splitlines()), f"seed {seed}\n{text}"
    client.ask("DELETE", path)
    return phase


def compare_with_duckdb(seed: int, answer: pa.Table) -> bool:
    """Compare rows with those of plain DuckDB, without indexes or rewritten queries.

    Returns whether the rows could be compared.
    """
    return compare_query_with_duckdb(write_random_query(seed, TABLES), answer, f"seed {seed}")


def compare_query_with_duckdb(text: str, answer: pa.Table, name: str) -> bool:
    """Compare the rows of a query as `compare_with_duckdb` does for a seed."""
    if NONDETERMINISTIC_WORDS.search(text) or answer.num_rows >= MAX_ROWS:
        return False
    pairs = [*PUBLISHED_TABLES, *UPLOADED_TABLES]
    try:
        plain = run_in_duckdb(bind_query(parse_query(text), StaticTableCatalogue(table for table, _ in pairs)), pairs)
    except Exception:  # noqa: BLE001  (rows that no condition leaves may be computed, or not)
        return False
    assert_same_rows(name, text, plain, answer)
    return True


def assert_same_rows(name: str, text: str, one: pa.Table, two: pa.Table) -> None:
    """Check that two tables have the same rows, in any order."""
    ours, theirs = (
        sorted(
            (tuple(map(_normalize_cell, row)) for row in zip(*map(_list_cells, table.columns), strict=True)), key=repr
        )
        for table in (one, two)
    )
    assert ours == theirs, f"{name}: {len(ours)} and {len(theirs)} rows\n{text}\n{ours[:3]}\n{theirs[:3]}"


def _list_cells(column: pa.ChunkedArray) -> list[Any]:
    # Python knows no year 10000
    return (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()


def _normalize_cell(cell: Any) -> Any:
    if isinstance(cell, list):
        return tuple(map(_normalize_cell, cell))
    if isinstance(cell, float):
        return "nan" if math.isnan(cell) else float(f"{cell:.6g}") + 0.0
    return cell


__all__ = [
    "EvaluationError",
    "assert_same_rows",
    "check_query",
    "check_seed",
    "compare_query_with_duckdb",
    "compare_sync_and_async",
    "compare_with_duckdb",
    "run_query",
]
