"""No address tells of rows that a policy hides: a part of what `tests/proofs/test_hidden.py` asks."""

from __future__ import annotations

from pathlib import Path

import pytest
from hidden_row_pages import POLICY, compare_pages, open_twin_sites


@pytest.mark.parametrize("said", [None, POLICY])
def test_a_site_with_hidden_rows_answers_as_one_without(tmp_path: Path, said: str | None) -> None:
    with open_twin_sites(tmp_path, said=said) as both:
        page = both[1].get("/collections/stars/main").text
        assert "of each kind" in page  # choices are those of the rows that are seen
        answered, unlike = compare_pages(both, part=12)
    assert not unlike
    assert answered > 30
