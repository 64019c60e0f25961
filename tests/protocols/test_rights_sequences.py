"""Policies, people, rows, tokens and the clock change between two requests of readers with caches: a part of what `tests/proofs/test_rights.py` asks."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

from rights_sequences import open_changing_site, run_sequence

# others each time at home, the same in CI; HVEN_SEED repeats those of a run
FIRST = int(os.environ.get("HVEN_SEED") or (0 if os.environ.get("CI") == "true" else Random().randrange(10**9)))


def test_no_answer_of_before(tmp_path: Path) -> None:
    with open_changing_site(tmp_path, FIRST) as made:
        done = [
            said.partition(":")[0] for seed in range(FIRST, FIRST + 24) for said in run_sequence(made, seed, steps=2)
        ]
    print(f"sequences {FIRST} to {FIRST + 23}: {sorted(set(done))}")
    assert len(set(done)) > 4
