"""What every pane of the portal must honour: subclass `PaneContract`, name its entry point, and pytest runs it."""

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
    """The promises of `hven.portal.panes.Pane`. pytest collects subclasses whose names begin with ``Test``.

    Attributes
    ----------
    name
        Of the entry point.
    table, rows
        A table that the pane shows, with its rows; that of `hven.testing.face.FaceContract` if you say none.
    """

    name: ClassVar[str]
    table: ClassVar[Table] = FaceContract.table
    rows: ClassVar[pa.Table] = FaceContract.rows

    @property
    def pane(self) -> Any:
        """The pane itself, a `hven.portal.panes.Pane`: tests of plug-ins stand beside the portal, not above it."""
        return plugins.load_plugin("panes", self.name).PANE

    def test_it_has_the_name_of_its_entry_point(self) -> None:
        """Its address has the one, `hven check` and the log say the other."""
        assert self.pane.name == self.name
        assert self.pane.title

    def test_it_applies_to_its_table_and_to_none_by_failing(self) -> None:
        """`applies` is asked for every table of a site, also for one without columns."""
        applies = self.pane.applies.__wrapped__
        assert applies(self.table)
        assert applies(type(self.table)(schema="empty", name="empty", columns=())) in {True, False}

    def test_its_query_reads_the_rows_that_were_found(self) -> None:
        """`ask` puts what it is given behind FROM: a search or a policy narrows the rows by it."""
        row_source = "(SELECT * FROM narrowed.rows_found) AS t"
        text = self.pane.ask(self.table, row_source)
        assert row_source in text
        parse_query(text)

    def test_it_shows_the_rows_and_none(self, tmp_path: Path) -> None:
        """Its query runs and its template renders, over the rows of the table and over no rows."""
        for number, rows in enumerate((self.rows, self.rows.slice(0, 0))):
            name = f"{self.table.schema}.{self.table.name}"
            with open_tiny_site(tmp_path / str(number), {name: (self.table, rows)}) as site:
                assert self.pane.check_tables(site) == []

    def test_texts_translate_its_title(self) -> None:
        """In each language that it has words of."""
        assert all(self.pane.title in words for words in self.pane.texts.values())


__all__ = ["PaneContract"]
