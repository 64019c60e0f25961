"""``/bright/{table}``: the rows of a table that are brighter than a magnitude; a service of one's own, whole in this file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.adql import quote
from hven.model.params import Param
from hven.model.types import FLOAT64
from hven.services.face import Asked, Face

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.table import Table


def magnitudes(table: Table) -> list[str]:
    """Name the columns of magnitudes."""
    return [column.name for column in table.columns if (column.ucd or "").startswith("phot.mag")]


def ask(table: Table, given: Mapping[str, Any]) -> Asked:
    """Ask for the brightest first."""
    name = quote(magnitudes(table)[0])
    return Asked(
        query=f"SELECT * FROM {quote(table.schema)}.{quote(table.name)} WHERE {name} <= {given['LIMIT']} ORDER BY {name}"
    )


FACE = Face(
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
    lacking="magnitudes (a column with the UCD phot.mag)",
    ask=ask,
    path="/bright/{table}",
    example="LIMIT=6.5",
)
