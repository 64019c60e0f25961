"""The standard of observations that a table follows: EPN-TAP or ObsCore."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hven.model.table import Table


def classify_table_standard(table: Table) -> str:
    """Classify a table by its standard.

    Parameters
    ----------
    table
        A table.

    Returns
    -------
    standard
        ``epn``, ``obscore``, or an empty text.
    """
    name = table.name.lower()
    has_epn_utype = "epntap#table" in (table.utype or "")
    has_epn_standard = (table.standard or "").startswith("epn-tap")
    if name == "epn_core" or has_epn_utype or has_epn_standard:
        if table.is_served_by("epn-tap"):
            return "epn"
        return ""
    if table.schema == "ivoa" and name == "obscore":
        return "obscore"
    return ""
