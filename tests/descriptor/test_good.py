"""Good descriptors, pair by pair: NAME.yaml and, in NAME.json, the rows that its tables must have."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from hven.descriptor import check_descriptor, load_descriptor
from hven.engines.duckdb.engine import DuckEngine
from hven.model.settings import Settings

sys.path.insert(0, str(Path(__file__).parent))
from mapping_runner import read_rows

CORPUS = Path(__file__).resolve().parent.parent / "corpus" / "descriptors" / "good"
CASES = sorted(path.stem for path in CORPUS.glob("*.yaml"))


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    engine = DuckEngine(tmp_path_factory.mktemp("engine"), memory_bytes=256 * 1024**2)
    yield engine
    engine.close()


@pytest.mark.parametrize("case", CASES)
def test_rows(case, engine):
    resource = load_descriptor(CORPUS / f"{case}.yaml", Settings(directory=CORPUS))
    expected = json.loads((CORPUS / f"{case}.json").read_text())
    found = read_rows(engine, resource)
    assert found.keys() == expected.keys()
    for table, wanted in expected.items():
        for got, want in zip(found[table], wanted, strict=True):
            assert got == {
                name: pytest.approx(value, rel=1e-7) if isinstance(value, float) else value
                for name, value in want.items()
            }


@pytest.mark.parametrize("case", CASES)
def test_nothing_to_complain_about(case):
    assert [
        str(fault)
        for fault in check_descriptor(CORPUS / f"{case}.yaml", Settings(directory=CORPUS))
        if fault.severity == "error"
    ] == []


def test_a_corpus_without_orphans():
    assert {path.stem for path in CORPUS.glob("*.json")} == set(CASES)
