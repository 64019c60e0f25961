"""Two thousand queries made at random: each is answered, or refused with its place; indexes change no answer; sync and async say the same."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))

from asgi_client import Client
from query_comparison import (
    check_query,
    check_seed,
    compare_query_with_duckdb,
    compare_sync_and_async,
    compare_with_duckdb,
    run_query,
)
from query_features import list_all_features, list_features
from regression_queries import REGRESSION_QUERIES

from hven.adql.functions import QUERY_FUNCTIONS, WINDOW_FUNCTIONS
from hven.app._server import create_and_start_application
from hven.model.errors import QueryError
from hven.site import Site
from hven.testing.site import open_tiny_site
from query_tables import PUBLISHED_TABLES, TABLES
from random_queries import QueryWriter, write_random_query

# other queries each time at home, the same in CI; HVEN_SEED repeats those of a run
FIRST = int(os.environ.get("HVEN_SEED") or (0 if os.environ.get("CI") == "true" else Random().randrange(10**9)))

MANY = 1000  # scripts/proof queries judges a million


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_tiny_site(
        tmp_path_factory.mktemp("made"), {table.qualified_name: (table, rows) for table, rows in PUBLISHED_TABLES}
    ) as made:
        yield made


def test_every_query_is_answered_or_refused_with_its_place(site: Site) -> None:
    kinds: Counter[str] = Counter()
    compared = 0
    for seed in range(FIRST, FIRST + MANY):
        answer = check_seed(site, seed)
        kinds["rows" if isinstance(answer, pa.Table) else type(answer).__name__] += 1
        if isinstance(answer, pa.Table) and seed % 4 == 0:
            compared += compare_with_duckdb(seed, answer)
    print(f"seeds {FIRST} to {FIRST + MANY - 1}: {dict(kinds)}, {compared} compared")
    assert kinds["rows"] > 0.35 * MANY  # most of what is written means something
    assert compared > MANY // 40


def test_every_clause_and_every_function_is_reached() -> None:
    missing = list_all_features()
    for seed in range(6000):
        missing -= list_features(write_random_query(seed, TABLES))
        if not missing:
            return
    pytest.fail(f"never written: {sorted(missing)}")


@pytest.mark.parametrize("number", range(len(REGRESSION_QUERIES)))
def test_what_once_was_a_fault_is_none(site: Site, number: int) -> None:
    answer = check_query(site, REGRESSION_QUERIES[number], f"kept query {number}")
    if isinstance(answer, pa.Table):
        compare_query_with_duckdb(REGRESSION_QUERIES[number], answer, f"kept query {number}")


@pytest.mark.parametrize("name", sorted({*(entry.name for entry in QUERY_FUNCTIONS), *WINDOW_FUNCTIONS}))
def test_every_function_is_written_and_answered(site: Site, name: str) -> None:
    window = name in WINDOW_FUNCTIONS
    entry = WINDOW_FUNCTIONS[name] if window else QUERY_FUNCTIONS.find_function(name)
    assert entry is not None
    for seed in range(300):
        writer = QueryWriter(seed, TABLES)
        source = writer.write_from_item(1)
        signature = writer.choose(entry.signatures)
        text = f"SELECT {writer.write_arguments(entry, signature, '', 1)}{' OVER (ORDER BY 1)' if window else ''} AS v FROM {source}"
        answer = run_query(site, text)
        if isinstance(answer, pa.Table):
            return
        assert isinstance(answer, QueryError)
    pytest.fail(f"no call of {name} was answered; the last: {text}: {answer}")


def test_sync_and_async_say_the_same(site: Site) -> None:
    client = Client(create_and_start_application(site))
    told = 0
    for seed in range(FIRST, FIRST + 10_000):
        told += bool(compare_sync_and_async(client, site, seed))
        if told == 100:
            return
    pytest.fail("too few queries without an upload")
