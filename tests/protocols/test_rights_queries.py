"""Queries made at random under policies of descriptors tell nothing of hidden rows: a part of what `tests/proofs/test_rights.py` asks."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from random import Random

from rights_queries import compare_seed, open_twin_sites

# other queries each time at home, the same in CI; HVEN_SEED repeats those of a run
FIRST = int(os.environ.get("HVEN_SEED") or (0 if os.environ.get("CI") == "true" else Random().randrange(10**9)))


def test_tables_with_hidden_rows_answer_as_without_them(tmp_path: Path) -> None:
    with open_twin_sites(tmp_path) as sites:
        kinds = Counter(compare_seed(sites, seed) for seed in range(FIRST, FIRST + 120))
    print(f"seeds {FIRST} to {FIRST + 119}: {dict(kinds)}")
    assert kinds["rows"] > 24
    assert kinds["EvaluationError"] > 4  # of which rows decide
