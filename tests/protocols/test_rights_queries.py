"""Queries made at random under policies of descriptors tell nothing of hidden rows: a part of what `tests/proofs/test_rights.py` asks, on both engines."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from random import Random
from unittest import mock

import pytest
from rights_queries import compare_seed, open_twin_sites

from hven.engines.postgres.settings import PostgresSettings
from postgres_cluster import install_extensions, run_server

# other queries each time at home, the same in CI; HVEN_SEED repeats those of a run
FIRST = int(os.environ.get("HVEN_SEED") or (0 if os.environ.get("CI") == "true" else Random().randrange(10**9)))


def test_tables_with_hidden_rows_answer_as_without_them(tmp_path: Path) -> None:
    with open_twin_sites(tmp_path) as sites:
        kinds = Counter(compare_seed(sites, seed) for seed in range(FIRST, FIRST + 120))
    print(f"seeds {FIRST} to {FIRST + 119}: {dict(kinds)}")
    assert kinds["rows"] > 24
    assert kinds["EvaluationError"] > 4  # of which rows decide


@pytest.mark.outside
def test_the_same_of_postgres(tmp_path: Path) -> None:
    # small tables, too: the first queries are before a copy is there, the others behind
    with run_server() as address, mock.patch("hven.engines.postgres.accessible_copies.MIN_COPIED_ROWS", 0):
        install_extensions(f"postgresql://{address}")
        where = {
            name: PostgresSettings(url=f"postgresql://{address}", namespace=name) for name in ("without", "hiding")
        }
        with open_twin_sites(
            tmp_path, engine=lambda _: "postgres", brought=lambda name: {"postgres": where[name]}
        ) as sites:
            kinds = Counter(compare_seed(sites, seed) for seed in range(FIRST, FIRST + 60))
    assert kinds["rows"] > 8, kinds
