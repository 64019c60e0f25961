"""Every example that follows a standard, served: STILTS taplint with its stage OBS, and our own lint, find nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from made import EXAMPLES, example, judged
from running import hven, serving

pytestmark = [pytest.mark.outside, pytest.mark.slow, pytest.mark.xdist_group("outside")]

CASES = sorted(path.parent.name for path in EXAMPLES.glob("*/hven.toml") if re.search(r"standard:|obscore:", "".join(
    one.read_text(encoding="utf-8") for one in path.parent.glob("collections/**/*.yaml"))))  # fmt: skip


def test_there_are_examples_to_judge() -> None:
    assert len(CASES) >= 5


@pytest.mark.parametrize("case", CASES)
def test_an_example_is_as_the_judges_want_it(case: str, tmp_path: Path) -> None:
    with example(case, tmp_path) as site:
        for path in sorted(site.glob("collections/*/*.yaml")):
            hven("--site", site, "ingest", path.stem)
        with serving(site) as server:
            judged(server.url, "obscore:" in "".join(one.read_text() for one in site.glob("collections/**/*.yaml")))
