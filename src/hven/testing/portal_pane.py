"""Test the contract of portal panes: subclass `PaneContract`, name the entry point, and pytest runs the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from hven.adql import parse_query
from hven.model import plugins
from hven.testing.face import FaceContract
from hven.testing.site import open_tiny_site

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from hven.model.table import Table


class PaneContract:
    """Test what every `hven.portal.panes.TablePane` must do.

    Pytest collects subclasses whose names begin with ``Test``.

    Attributes
    ----------
    name
        Name of the entry point.
    table, rows
        A table that the pane shows, with its rows; by default that of `hven.testing.face.FaceContract`.
    """

    name: ClassVar[str]
    table: ClassVar[Table] = FaceContract.table
    rows: ClassVar[pa.Table] = FaceContract.rows

    @property
    def pane(self) -> Any:
        """The tested pane, a `hven.portal.panes.TablePane`, which this package must not import."""
        return plugins.load_plugin("panes", self.name).PANE

    def test_it_has_the_name_of_its_entry_point(self) -> None:
        """Addresses use the name of the pane, `hven check` and the log that of the entry point."""
        assert self.pane.name == self.name
        assert self.pane.title

    def test_applies_never_fails(self) -> None:
        """`applies` works for every table of a site, including a table without columns."""
        applies = self.pane.applies.__wrapped__
        empty_table = type(self.table)(schema="empty", name="empty", columns=())
        assert applies(self.table)
        assert applies(empty_table) in {True, False}

    def test_its_query_reads_from_the_row_source(self) -> None:
        """`ask` puts its row source behind FROM, so that a search or a policy can narrow the rows."""
        row_source = "(SELECT * FROM narrowed.rows_found) AS t"
        text = self.pane.ask(self.table, row_source)
        assert row_source in text
        parse_query(text)

    def test_it_renders_with_rows_and_without(self, tmp_path: Path) -> None:
        """The query runs and the template renders, with the rows of the table and without rows."""
        for number, rows in enumerate((self.rows, self.rows.slice(0, 0))):
            name = f"{self.table.schema}.{self.table.name}"
            with open_tiny_site(tmp_path / str(number), {name: (self.table, rows)}) as site:
                assert self.pane.find_pane_faults(site) == []

    def test_texts_translate_its_title(self) -> None:
        """Each language of the pane's texts translates its title."""
        assert all(self.pane.title in words for words in self.pane.texts.values())


__all__ = ["PaneContract"]
