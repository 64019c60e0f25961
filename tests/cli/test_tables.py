"""Tables that commands print: what a person reads, with aligned columns."""

from __future__ import annotations

import pytest

from hven.app._cli.context import print_table


def test_cells_are_aligned_and_flags_are_words(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [["stars.main", 1_234_567, True, None], ["a.b", 0, False, "2026-01-01"]]
    print_table(["table", "rows", "published", "until"], rows, title="Tables")
    assert capsys.readouterr().out.splitlines() == [
        "Tables",
        "table            rows  published  until",
        "----------  ---------  ---------  ----------",
        "stars.main  1,234,567  yes",
        "a.b                 0  no         2026-01-01",
    ]


def test_a_table_without_rows_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["table"], [], title="Tables")
    assert capsys.readouterr().out == "Tables: none\n"
