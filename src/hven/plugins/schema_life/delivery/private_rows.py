"""Tell which rows of a delivery anonymous users do not see, so that nobody sends embargoed rows by mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql import quote_table_name
from hven.model.errors import Fault
from hven.query import run_query
from hven.site.auth import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Table
    from hven.plugins.schema_life.delivery.delivered_tables import DeliveredTable
    from hven.site import PublishedState, Site


def find_private_row_faults(
    site: Site, published_state: PublishedState, delivered_tables: Sequence[DeliveredTable]
) -> list[Fault]:
    """Find the tables with rows or columns that anonymous users do not see.

    Parameters
    ----------
    site
        The site.
    published_state
        The state that is delivered.
    delivered_tables
        The tables, measured with all rows that the owner sees.

    Returns
    -------
    faults
        A warning for each such table.
    """
    catalogue = published_state.get_catalogue(ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES)
    public_tables = {table.qualified_name: table for table in catalogue.iterate_tables()}
    faults = []
    for delivered_table in delivered_tables:
        name = delivered_table.table.qualified_name
        public_table = public_tables.get(name)
        if public_table is None:
            hidden_count = delivered_table.row_count
        elif delivered_table.table.policy is not None:
            hidden_count = delivered_table.row_count - _count_public_rows(site, published_state, public_table)
        else:
            continue
        if hidden_count:
            message = f"{name}: anonymous users do not see {hidden_count:,} of the {delivered_table.row_count:,} rows"
            remedy = "export with --public to leave these rows out, unless you want to hand them over"
            faults.append(Fault(message=message, remedy=remedy, severity="warning"))
    return faults


def _count_public_rows(site: Site, published_state: PublishedState, table: Table) -> int:
    query = f"SELECT COUNT(*) AS n FROM {quote_table_name(table)}"
    with run_query(query, ANONYMOUS_PRINCIPAL, site=site, published_state=published_state) as result:
        return int(result.read_table()["n"][0].as_py())
