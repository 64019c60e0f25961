"""Sites whose tables are HATS and computed by a cluster of Spark: random queries (near = far = embedded), and one query over tables of two engines."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "query"))
sys.path.insert(0, str(Path(__file__).parents[3] / "protocols"))

from query_comparison import check_query, check_seed, compare_query_with_duckdb, compare_with_duckdb
from regression_queries import REGRESSION_QUERIES
from spark_cluster import run_cluster

from hven.plugins.hats.settings import HatsSettings
from hven.plugins.spark.settings import SparkSettings
from hven.site import Site
from hven.testing.site import open_tiny_site, publish_rows
from plugin_needs import build_settings
from postgres_cluster import install_extensions
from postgres_cluster import run_server as database
from query_tables import PUBLISHED_TABLES

FULL = pytest.mark.needs("proof")
pytestmark = [FULL, pytest.mark.outside]
COUNT = int(os.environ.get("HVEN_QUERIES") or 400)
FIRST = int(os.environ.get("HVEN_QUERIES_FIRST") or 0)
RICH = 1 << 40  # bytes: all is near


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with run_cluster() as running:
        yield running.url


@pytest.fixture(scope="module", params=["far", "near"])
def site(request: pytest.FixtureRequest, server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    tables = {table.qualified_name: (table, rows) for table, rows in PUBLISHED_TABLES}
    brought = {
        "hats": HatsSettings(roots=("hats",), near_bytes=0 if request.param == "far" else RICH),
        "hats:spark": SparkSettings(spark=server),
    }
    with open_tiny_site(tmp_path_factory.mktemp(request.param), tables, engine="hats", brought=brought) as made:
        yield made


@pytest.mark.parametrize("number", range(len(REGRESSION_QUERIES)))
def test_what_once_was_a_fault_is_none(site: Site, number: int) -> None:
    answer = check_query(site, REGRESSION_QUERIES[number], f"kept query {number}")
    if isinstance(answer, pa.Table):
        compare_query_with_duckdb(REGRESSION_QUERIES[number], answer, f"kept query {number}")


def print_uncaptured(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with capsys.disabled():
        print(f"\n{text}", flush=True)


def each(capsys: pytest.CaptureFixture[str], name: str, site: Site) -> Counter[str]:
    """Ask the queries of all seeds; a fault does not end it: all are told at the end."""
    kinds: Counter[str] = Counter()
    faults = []
    for seed in range(FIRST, FIRST + COUNT):
        try:
            answer = check_seed(site, seed)
            rows = isinstance(answer, pa.Table)
            kinds["rows" if rows else type(answer).__name__] += 1
            if isinstance(answer, pa.Table) and compare_with_duckdb(seed, answer):
                kinds["compared"] += 1
        except AssertionError as error:
            faults.append(str(error))
            print_uncaptured(capsys, str(error))
    print_uncaptured(capsys, f"{name}: seeds {FIRST} to {FIRST + COUNT - 1}: {dict(kinds)}, {len(faults)} faults")
    assert not faults, "\n\n".join(faults)
    return kinds


def test_random_queries_have_the_rows_of_the_embedded_engine(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = each(capsys, f"near_bytes = {site.settings.brought['hats'].near_bytes}", site)  # type: ignore[attr-defined]
    assert kinds["rows"] > COUNT / 3
    assert kinds["compared"] > COUNT / 5


@pytest.mark.parametrize("other", ["duckdb", "postgres"])
def test_tables_of_two_engines_give_the_rows_of_one_engine(server: str, tmp_path: Path, other: str, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    with database() as address:
        url = f"postgresql://{address}"
        install_extensions(url)
        brought = {
            "hats": HatsSettings(roots=("hats",), near_bytes=0),
            "hats:spark": SparkSettings(spark=server),
            "postgres": build_settings("postgres", url=url, namespace="two"),
        }
        with open_tiny_site(tmp_path, {}, brought=brought) as site:
            for number, (table, rows) in enumerate(PUBLISHED_TABLES):
                publish_rows(site, table, rows, engine_name="hats" if number % 2 else other)
            site.refresh_published_state()
            kinds = each(capsys, f"hats and {other} by turns", site)
    assert kinds["rows"] > COUNT / 3
    assert kinds["compared"] > COUNT / 5
