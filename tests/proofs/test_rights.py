"""Rights at full size: readers, rows and every way out; queries made at random under policies; sequences of changes between requests.

HVEN_RIGHTS_QUERIES and HVEN_RIGHTS_SEQUENCES say how many of each, HVEN_RIGHTS_SECONDS how long sequences are tried at most, HVEN_SEED where they begin.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))

from rights_matrix import PEOPLE, POST_BODIES, PUT_BODIES, QUERY_STRINGS, ROWS, fill_matrix, find_job_routes
from rights_queries import compare_seed, open_twin_sites
from rights_sequences import open_changing_site, run_sequence

FULL = os.environ.get("HVEN_PROOF") == "full"
FIRST = int(os.environ.get("HVEN_SEED") or 0)
QUERIES = int(os.environ.get("HVEN_RIGHTS_QUERIES") or 10_000)
SEQUENCES = int(os.environ.get("HVEN_RIGHTS_SEQUENCES") or 1_000)
STEPS = 5
SECONDS = float(os.environ.get("HVEN_RIGHTS_SECONDS") or 7200)  # for the sequences
pytestmark = pytest.mark.needs("proof")


def compare_sites(directory: Path, name: str, **settings: object) -> None:
    """Ask random queries of two sites, one of which has hidden rows that the other one lacks; fail with all faults."""
    begun = time.monotonic()
    kinds: Counter[str] = Counter()
    faults: list[str] = []
    with open_twin_sites(directory, **settings) as sites:
        for seed in range(FIRST, FIRST + QUERIES):
            try:
                kinds[compare_seed(sites, seed)] += 1
            except AssertionError as error:
                faults.append(str(error)[:2000])
    print(f"{name}: {QUERIES:,} seeds from {FIRST} in {time.monotonic() - begun:.0f} s: {dict(kinds)}, {len(faults)} faults", flush=True)  # fmt: skip
    assert not faults, "\n\n".join(faults[:20])


def test_queries_under_policies(tmp_path: Path) -> None:
    compare_sites(tmp_path, "duckdb")


def test_sequences(tmp_path: Path) -> None:
    begun = time.monotonic()
    done: Counter[str] = Counter()
    faults: list[str] = []
    count = 0
    with open_changing_site(tmp_path, FIRST) as made:
        for seed in range(FIRST, FIRST + SEQUENCES):
            if time.monotonic() - begun > SECONDS:
                break
            count += 1
            try:
                done.update(said.partition(":")[0] for said in run_sequence(made, seed, steps=STEPS))
            except AssertionError as error:
                faults.append(str(error)[:2000])
    print(f"{count:,} sequences from {FIRST} in {time.monotonic() - begun:.0f} s: {dict(done)}, {len(faults)} faults", flush=True)  # fmt: skip
    assert not faults, "\n\n".join(faults[:20])


def test_the_matrix(tmp_path: Path) -> None:
    begun = time.monotonic()
    matrix, routes = fill_matrix(tmp_path)
    print(
        f"{len(matrix.ways)} ways out x {len(PEOPLE)} readers x {len(ROWS)} rows, {matrix.answers:,} answers, {matrix.cells:,} cells in "
        f"{time.monotonic() - begun:.0f} s: {len(matrix.leaks)} leaks, {len(matrix.refusals)} wrong refusals; "
        f"{sum(len(words) > len(ROWS) / 2 for words in matrix.showing.values())} ways show single rows",
        flush=True,
    )
    assert routes == QUERY_STRINGS.keys() | POST_BODIES.keys() | PUT_BODIES.keys() | find_job_routes(routes)
    findings = [*(f"leak: {leak}" for leak in matrix.leaks), *(f"refusal: {said}" for said in matrix.refusals)]
    (tmp_path / "findings.txt").write_text("\n".join(findings))  # all of them: a run takes half an hour
    assert not findings, f"{len(findings)}, all in {tmp_path / 'findings.txt'}:\n" + "\n".join(findings[:20])
    assert len(matrix.ways) >= 80
