"""Which parts of packages a page shows."""

from __future__ import annotations

import pytest

from hven.portal._pages import package_pages
from hven.portal._pages.package_pages import list_shown_part_templates


def test_a_silent_package_adds_no_part_and_the_value_for_a_table_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = ("usage/a.html", "entries/b.html", "watches/c.html")
    monkeypatch.setattr(package_pages, "list_page_part_templates", lambda place: parts)
    frame_values = {"entries": None, "watches": None}
    assert list_shown_part_templates("menu", frame_values) == ("usage/a.html",)
    # strangers have no link to the entries in the menu, but read the comments on a row
    table_values = {"entries": {"row": "1"}, "usage": None}
    assert list_shown_part_templates("table.row", frame_values, table_values) == ("entries/b.html",)
