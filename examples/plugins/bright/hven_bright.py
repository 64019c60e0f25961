"""``/bright/{table}``: the rows of a table that are brighter than a magnitude; a service of one's own, whole in this file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.adql import quote_adql_name
from hven.model.params import Param
from hven.model.types import FLOAT64
from hven.services.face import ServiceFace, ServiceQuery

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.table import Table


def magnitudes(table: Table) -> list[str]:
    """Name the columns of magnitudes."""
    return [column.name for column in table.columns if (column.ucd or "").startswith("phot.mag")]


def ask(table: Table, given: Mapping[str, Any]) -> ServiceQuery:
    """Ask for the brightest first."""
    name = quote_adql_name(magnitudes(table)[0])
    return ServiceQuery(
        query=f"SELECT * FROM {quote_adql_name(table.schema)}.{quote_adql_name(table.name)} WHERE {name} <= {given['LIMIT']} ORDER BY {name}"
    )


FACE = ServiceFace(
    name="bright",
    title="Bright objects",
    description="Rows that are at least as bright as a magnitude, the brightest first.",
    params=(
        Param(
            name="LIMIT",
            type=FLOAT64,
            unit="mag",
            minimum=-30,
            maximum=40,
            required=True,
            description="faintest magnitude",
        ),
    ),
    applies=lambda table: bool(magnitudes(table)),
    missing_requirement="magnitudes (a column with the UCD phot.mag)",
    build_query=ask,
    path="/bright/{table}",
    example="LIMIT=6.5",
)
