"""Every example: checked without a word, ingested, its own tests passed."""

from __future__ import annotations

import pytest

from hven.descriptor import check
from hven.ingest import ingest, run_tests
from hven.model.settings import load
from hven.site import Site
from made import EXAMPLES, example

CASES = sorted(path.parent.name for path in EXAMPLES.glob("*/hven.toml"))


@pytest.mark.parametrize("case", CASES)
def test_an_example_works(case, tmp_path):
    with example(case, tmp_path) as directory, Site(settings := load(directory, {})) as site:
        for path in sorted(settings.collections.glob("*/*.yaml")):
            assert [str(fault) for fault in check(path, settings)] == []
            report = ingest(site, path.stem)
            assert "rejected" not in report.text() or " 0 rejected" in report.text(), report.text()
            assert [str(fault) for fault in run_tests(site, path.stem)] == []


def test_the_ladder_is_listed():
    listed = (EXAMPLES / "README.md").read_text()
    assert CASES
    assert all(f"[{case}]({case})" in listed for case in CASES)
    assert all((EXAMPLES / case / "README.md").is_file() for case in CASES)
