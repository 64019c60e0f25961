"""Define panes: views that extensions add for the rows that a search in a table finds.

A pane has a query over these rows, and a template that shows the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven import query
from hven.adql import quote_adql_name
from hven.model import plugins
from hven.model.errors import Fault
from hven.portal._pages import load_templates
from hven.site.auth import OWNER_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hven.model.table import Table
    from hven.site import Site

MAX_TRIED_ROWS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePane:
    """A pane; it has an address for each table, and the table's pages link to it with their search.

    Attributes
    ----------
    name
        Name in the address.
    title
        Title in menus; `texts` translate it.
    ask
        Function that writes ADQL, from the table and from the source in FROM that has its rows.
    template
        Template of Jinja for `rows`, the answer as dictionaries; values are escaped, ``_("..")`` is translated.
    applies
        Function that tells whether the pane can show a table.
    texts
        Language -> English text -> translation.
    """

    name: str
    title: str
    ask: Callable[[Table, str], str]
    template: str
    applies: Callable[[Table], bool] = lambda _: True
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make `applies` return False for a table for which it raises an error."""
        object.__setattr__(self, "applies", plugins.wrap_plugin_predicate(self.applies))

    def find_pane_faults(self, site: Site) -> list[Fault]:
        """Try the pane on the published tables: its test, its query, and its template with the first rows.

        Parameters
        ----------
        site
            The open site.

        Returns
        -------
        list of Fault
            One for each table for which the pane fails.
        """
        faults_found = []
        for table in site.get_published_state().get_catalogue(OWNER_PRINCIPAL).iterate_tables():
            try:
                if not self.applies.__wrapped__(table):  # type: ignore[attr-defined]
                    continue
                text = self.ask(table, f"{quote_adql_name(table.schema)}.{quote_adql_name(table.name)} AS t")
                with query.run_query(text, OWNER_PRINCIPAL, site=site, hard_row_limit=MAX_TRIED_ROWS) as result:
                    pane_template = load_templates().from_string(self.template)
                    rows = result.read_table().to_pylist()
                    pane_template.render(pane=self, rows=rows, cut=result.overflow, faults=[])
            except Exception as error:  # noqa: BLE001  (code of an extension)
                message = f"the pane {self.name!r} fails for {table.qualified_name}: {type(error).__name__}: {error}"
                place = plugins.describe_error_origin(error)
                if place == plugins.OWN_LOCATION:  # what fails there is what the pane gave it
                    place = f"its query or its template, in {self.ask.__module__}"
                faults_found.append(Fault(message=message, remedy=f"correct the pane ({place})"))
        return faults_found


def list_panes() -> list[TablePane]:
    """List all installed panes."""
    return [*plugins.load_plugin_records("panes").values()]
