"""Random queries of tables with hidden rows in PostgreSQL, small ones, too: the answers are those of tables that lack the rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from unittest import mock

import pytest
from rights_queries import compare_seed, open_twin_sites
from test_rights_queries import FIRST

from hven.plugins.postgres.settings import PostgresSettings
from postgres_cluster import install_extensions, run_server


@pytest.mark.outside
def test_tables_with_hidden_rows_answer_as_without_them(tmp_path: Path) -> None:
    # small tables, too: the first queries are before a copy is there, the others behind
    with run_server() as address, mock.patch("hven.plugins.postgres.engine.accessible_copies.MIN_COPIED_ROWS", 0):
        install_extensions(f"postgresql://{address}")
        where = {
            name: PostgresSettings(url=f"postgresql://{address}", namespace=name) for name in ("without", "hiding")
        }
        with open_twin_sites(
            tmp_path, engine=lambda _: "postgres", brought=lambda name: {"postgres": where[name]}
        ) as sites:
            kinds = Counter(compare_seed(sites, seed) for seed in range(FIRST, FIRST + 60))
    assert kinds["rows"] > 8, kinds
