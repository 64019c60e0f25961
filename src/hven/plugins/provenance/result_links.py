"""Write the link from the rows of a result to their provenance (PROV-AQ, section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Table

HAS_PROVENANCE = "http://www.w3.org/ns/prov#has_provenance"
MAX_TABLES = 10  # named in a link
UNRECORDED_SCHEMAS = frozenset({"TAP_SCHEMA", "TAP_UPLOAD", "TAP_USER"})


def write_result_link(tables: Sequence[Table], base_url: str) -> str:
    """Write the link to the provenance of the tables that a query read.

    Parameters
    ----------
    tables
        Tables of the query; those of users have no provenance.
    base_url
        Address of the site.

    Returns
    -------
    link
        A value of the header Link; empty if no table has provenance.
    """
    parameters = ""
    for table in tables[:MAX_TABLES]:
        if table.schema.upper() not in UNRECORDED_SCHEMAS:
            # names of tables have none of the characters for which `quote_id` does more
            parameters += f"&ID=table/{quote(table.qualified_name, safe='.')}"
    if not parameters:
        return ""
    return f'<{base_url}/prov?{parameters[1:]}>; rel="{HAS_PROVENANCE}"'
