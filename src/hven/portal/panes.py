"""Pane: a look of one's own at the rows that a search in a table found.

A query over them, and a template that shows its answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven import query
from hven.adql import quote_name
from hven.model import plugins
from hven.model.errors import Fault
from hven.portal._pages import load_templates
from hven.site.auth import OWNER_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hven.model.table import Table
    from hven.site import Site

MAX_TRIED_ROWS = 10  # rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Pane:
    """A pane; it has an address for each table, to which the table's pages link with what is searched there.

    Attributes
    ----------
    name
        In its address.
    title
        In menus; `texts` translate it.
    ask
        Makes ADQL of a table, and of what stands behind FROM for its rows that were found.
    template
        Of Jinja: shows `rows`, the answer as dictionaries; values are escaped, ``_("..")`` is in the reader's language.
    applies
        Whether it can show a table.
    texts
        Language -> English -> what it says there.
    """

    name: str
    title: str
    ask: Callable[[Table, str], str]
    template: str
    applies: Callable[[Table], bool] = lambda _: True
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Hold for no table where its own test of it fails."""
        object.__setattr__(self, "applies", plugins.wrap_test(self.applies))

    def check_tables(self, site: Site) -> list[Fault]:
        """Run it on the tables that are published: whether it applies, its query, and its template over the first rows.

        Parameters
        ----------
        site
            Opened.

        Returns
        -------
        list of Fault
            One for each table that it fails for.
        """
        faults_found = []
        for table in site.get_published_state().get_catalogue(OWNER_PRINCIPAL).iterate_tables():
            try:
                if not self.applies.__wrapped__(table):  # type: ignore[attr-defined]
                    continue
                with query.run_query(
                    self.ask(table, f"{quote_name(table.schema)}.{quote_name(table.name)} AS t"),
                    OWNER_PRINCIPAL,
                    site=site,
                    hard_row_limit=MAX_TRIED_ROWS,
                ) as result:
                    load_templates().from_string(self.template).render(
                        pane=self, rows=result.read_table().to_pylist(), cut=result.overflow, faults=[]
                    )
            except Exception as error:  # noqa: BLE001  (it is another's)
                message = f"the pane {self.name!r} fails for {table.qualified_name}: {type(error).__name__}: {error}"
                faults_found.append(Fault(message=message, remedy=f"mend it: {plugins.locate_error(error)}"))
        return faults_found


def list_panes() -> list[Pane]:
    """List all that are installed."""
    return [*plugins.load_records("panes").values()]
