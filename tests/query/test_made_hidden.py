"""Queries made at random, under a row policy: whether they fail, with which words, and what they answer is the same whether there are hidden rows or not."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))

from hidden_rows import alike, twins
from test_made_queries import FIRST


def test_no_query_tells_of_hidden_rows(tmp_path: Path) -> None:
    with twins(tmp_path) as sites:
        kinds = Counter(alike(sites, seed) for seed in range(FIRST, FIRST + 120))
    print(f"seeds {FIRST} to {FIRST + 119}: {dict(kinds)}")
    assert kinds["rows"] > 36
    assert kinds["EvaluationError"] > 4  # of which rows decide
