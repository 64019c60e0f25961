"""A pane of one's own, whole in this file: how many of the rows that were found have which magnitude."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql import quote_adql_name
from hven.portal.panes import TablePane

if TYPE_CHECKING:
    from hven.model.table import Table


def magnitudes(table: Table) -> list[str]:
    """Name the columns of magnitudes."""
    return [column.name for column in table.columns if (column.ucd or "").startswith("phot.mag")]


def ask(table: Table, found: str) -> str:
    """Count by whole magnitudes."""
    return (
        f"SELECT FLOOR({quote_adql_name(magnitudes(table)[0])}) AS mag, COUNT(*) AS stars FROM {found} GROUP BY 1 ORDER BY 1"
    )


PANE = TablePane(
    name="counts",
    title="Magnitudes",
    applies=lambda table: bool(magnitudes(table)),
    ask=ask,
    template="""
<table><thead><tr><th>{{ _("from") }}</th><th>{{ _("Stars") }}</th></tr></thead>
{% for row in rows if row.mag is not none %}<tr><td>{{ row.mag | int }} mag</td><td><meter max="{{ rows | map(attribute="stars") | max }}"
  value="{{ row.stars }}"></meter> {{ row.stars | thousands }}</td></tr>{% endfor %}</table>
""",
    texts={"fr": {"Magnitudes": "Magnitudes", "Stars": "Étoiles"}},
)
