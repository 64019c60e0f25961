"""Queries made at random, under a row policy: whether they fail, with which words, and what they answer is the same whether there are hidden rows or not."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))

from hidden_rows import POLICIES, compare_seed, open_twin_sites
from query_comparison import run_query
from test_made_queries import FIRST


def test_no_query_tells_of_hidden_rows(tmp_path: Path) -> None:
    kinds: Counter[str] = Counter()
    count = 0
    with open_twin_sites(tmp_path) as sites:
        while count < 120 or (kinds["EvaluationError"] <= 4 and count < 1200):
            kinds[compare_seed(sites, FIRST + count)] += 1
            count += 1
    print(f"seeds {FIRST} to {FIRST + count - 1}: {dict(kinds)}")
    assert kinds["rows"] > 36
    assert kinds["EvaluationError"] > 4, "of some errors, rows decide"


def test_shapes_of_hidden_rows_are_hidden_as_other_values_are(tmp_path: Path) -> None:
    with open_twin_sites(tmp_path) as sites:
        for condition in ("id > 0", "1 = INTERSECTS(c, CAST(CAST(NULL AS VARCHAR(20)) AS POINT))", "COORD1(p) > 1"):
            # arrays of fixed length, which CASE does not know in DuckDB
            one, two = (
                run_query(site, f"SELECT id, c, p FROM sky.shapes WHERE {condition} ORDER BY id", POLICIES)
                for site in sites
            )
            assert one == two, condition
