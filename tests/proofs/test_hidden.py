"""No address tells of rows that a policy hides: all addresses of a site are asked, by what its pages link to and by what nobody should send."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))

from hidden_row_pages import POLICY, compare_pages, open_twin_sites

pytestmark = pytest.mark.needs("proof")


@pytest.mark.parametrize("said", [None, POLICY])
def test_a_site_with_hidden_rows_answers_as_one_without(tmp_path: Path, said: str | None) -> None:
    with open_twin_sites(tmp_path, said=said) as both:
        answered, unlike = compare_pages(both)
    print(f"{answered} addresses with an answer")
    assert not unlike, f"{len(unlike)}: {unlike[:20]}"
    assert answered > 500
