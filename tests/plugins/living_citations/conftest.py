"""The site of these tests is that of the tests of watches."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

PLUGIN_TESTS = Path(__file__).parents[1]
for directory in (
    PLUGIN_TESTS.parent / "protocols",
    PLUGIN_TESTS / "notifications",
    PLUGIN_TESTS / "watches",
    Path(__file__).parent,
):
    sys.path.insert(0, str(directory))

if TYPE_CHECKING:
    from cited_star_site import CitationSite


@pytest.fixture
def site(tmp_path: Path) -> Iterator[CitationSite]:
    from cited_star_site import open_citation_site

    with open_citation_site(tmp_path) as opened:
        yield opened
