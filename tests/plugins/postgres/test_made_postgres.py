"""Queries made at random, of the engine postgres: each is answered as the embedded engine answers it, or refused with its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hidden_rows import compare_seed, open_twin_sites
from query_comparison import check_query, check_seed, compare_query_with_duckdb, compare_with_duckdb
from regression_queries import REGRESSION_QUERIES
from test_made_queries import FIRST

from hven.plugins.postgres.settings import PostgresSettings
from hven.site import Site
from hven.testing.site import open_tiny_site, publish_rows
from postgres_cluster import install_extensions, run_server
from query_tables import PUBLISHED_TABLES

pytestmark = pytest.mark.outside


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with run_server() as address:
        install_extensions(f"postgresql://{address}")
        yield f"postgresql://{address}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[Site]:
    tables = {table.qualified_name: (table, rows) for table, rows in PUBLISHED_TABLES}
    with open_tiny_site(
        tmp_path_factory.mktemp("made"), tables, engine="postgres", brought={"postgres": PostgresSettings(url=database)}
    ) as made:
        yield made


@pytest.mark.parametrize("number", range(len(REGRESSION_QUERIES)))
def test_what_once_was_a_fault_is_none(site: Site, number: int) -> None:
    answer = check_query(site, REGRESSION_QUERIES[number], f"kept query {number}")
    if isinstance(answer, pa.Table):
        compare_query_with_duckdb(REGRESSION_QUERIES[number], answer, f"kept query {number}")


def test_every_query_is_answered_or_refused_with_its_place(site: Site) -> None:
    kinds: Counter[str] = Counter()
    for seed in range(FIRST, FIRST + 300):
        answer = check_seed(site, seed)
        kinds["rows" if isinstance(answer, pa.Table) else type(answer).__name__] += 1
        if isinstance(answer, pa.Table) and seed % 3 == 0:
            kinds["compared"] += compare_with_duckdb(seed, answer)
    print(f"seeds {FIRST} to {FIRST + 299}: {dict(kinds)}")
    assert kinds["rows"] > 90
    assert kinds["compared"] > 15


def test_no_query_tells_of_hidden_rows(tmp_path: Path, database: str) -> None:
    with open_twin_sites(
        tmp_path,
        engine=lambda _: "postgres",
        brought=lambda name: {"postgres": PostgresSettings(url=database, namespace=name)},
    ) as sites:
        kinds = Counter(compare_seed(sites, seed) for seed in range(FIRST, FIRST + 100))
    print(f"seeds {FIRST} to {FIRST + 99}: {dict(kinds)}")
    assert kinds["rows"] > 30


def test_tables_of_two_engines_answer_as_those_of_one(tmp_path: Path, database: str) -> None:
    kinds: Counter[str] = Counter()
    with open_tiny_site(tmp_path, {}, brought={"postgres": PostgresSettings(url=database, namespace="mixed")}) as site:
        for number, (table, rows) in enumerate(PUBLISHED_TABLES):
            publish_rows(site, table, rows, engine_name="postgres" if number % 2 else None)
        site.refresh_published_state()
        for seed in range(FIRST, FIRST + 100):
            answer = check_seed(site, seed)
            if isinstance(answer, pa.Table):
                kinds.update(["rows", *(["compared"] if compare_with_duckdb(seed, answer) else [])])
    print(f"seeds {FIRST} to {FIRST + 99}: {dict(kinds)}")
    assert kinds["rows"] > 30
    assert kinds["compared"] > 15
