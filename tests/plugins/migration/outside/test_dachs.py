"""The same resource descriptors in DaCHS and in Hven: both import them, and their TAP services return the same rows."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from migration_sites import INPUTS, convert, create_site

from dachs_server import DachsServer, create_dachs, serve_dachs
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import Settings
from hven.query import run_query
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL

pytestmark = pytest.mark.needs("dachs", "postgresql", "pgsphere")
QUERIES = {
    "brightest": (
        "SELECT star, raj2000, dej2000, vmag, remark FROM brightest.main ORDER BY star",
        "SELECT star FROM brightest.main WHERE 1 = CONTAINS(POINT(raj2000, dej2000), CIRCLE(101, -17, 2))",
        "SELECT COUNT(*) AS n, MIN(vmag) AS brightest FROM brightest.main WHERE remark IS NULL",
    ),
}


@pytest.fixture(scope="module")
def dachs() -> Iterator[DachsServer]:
    with create_dachs() as server:
        for name in QUERIES:
            server.import_descriptor(server.add_descriptor(INPUTS / name, name))
        with serve_dachs(server) as served:
            yield served


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return create_site(tmp_path)


def read_cells(text: str) -> list[dict[str, str]]:
    return [{name.lower(): value for name, value in row.items()} for row in csv.DictReader(io.StringIO(text))]


def read_hven_cells(site: Site, query: str) -> list[dict[str, str]]:
    result = run_query(query, site=site, principal=ANONYMOUS_PRINCIPAL)
    try:
        rows = [row for batch in result.iterate_batches() for row in batch.to_pylist()]
    finally:
        result.close()
    return [{name.lower(): "" if value is None else str(value) for name, value in row.items()} for row in rows]


def find_differences(left: list[dict[str, str]], right: list[dict[str, str]]) -> list[str]:
    """List the cells that differ: as texts, or as numbers by more than their last digits."""
    if [sorted(row) for row in left] != [sorted(row) for row in right]:
        return [f"{len(left)} and {len(right)} rows, or other columns"]
    differences: list[str] = []
    for number, (one, other) in enumerate(zip(left, right, strict=True)):
        for name, value in one.items():
            if value != other[name] and not _are_equal_numbers(value, other[name]):
                differences.append(f"row {number}, {name}: {value!r}, {other[name]!r}")
    return differences


def _are_equal_numbers(one: str, other: str) -> bool:
    try:
        return math.isclose(float(one), float(other), rel_tol=1e-7)
    except ValueError:
        return False


def test_differences_are_found() -> None:
    assert find_differences([{"a": "1.0", "b": "x"}], [{"a": "1.00000001", "b": "x"}]) == []
    assert find_differences([{"a": "1.0", "b": "x"}], [{"a": "1.001", "b": "y"}]) == [
        "row 0, a: '1.0', '1.001'",
        "row 0, b: 'x', 'y'",
    ]
    assert find_differences([{"a": "1"}], []) == ["1 and 0 rows, or other columns"]


@pytest.mark.parametrize("name", QUERIES)
def test_both_return_the_same_rows(dachs: DachsServer, settings: Settings, name: str) -> None:
    site_files = convert(settings, name, settings.directory / "inputs" / name / "q.rd")
    assert site_files.list_errors(name) == []
    with Site(settings) as site:
        ingest_collection(site, name)
        for query in QUERIES[name]:
            expected = read_cells(dachs.query_csv(query))
            assert expected
            assert find_differences(expected, read_hven_cells(site, query)) == [], query
