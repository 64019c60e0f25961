"""The service ``candidates``: why an object has its partner, from a table of candidates (``rows: candidates``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.adql import quote_adql_name
from hven.adql.adql_writer import write_adql_literal
from hven.model.errors import ParamError
from hven.model.params import Param
from hven.plugins.matching.match_columns import CANDIDATE_COLUMNS
from hven.services.face import ServiceFace, ServiceQuery

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.table import Table

MISSING_REQUIREMENT = "candidates of a match (`source: {kind: match, rows: candidates}`)"


def has_candidates(table: Table) -> bool:
    """Return whether a table lists the candidates of a match.

    Parameters
    ----------
    table
        Any table.
    """
    names = {column.name for column in table.columns}
    return bool(table.primary) and all(column.name in names for column in CANDIDATE_COLUMNS)


def write_candidate_table(table: Table) -> str:
    """Write the name of a table as ADQL.

    Parameters
    ----------
    table
        The table.
    """
    return f"{quote_adql_name(table.schema)}.{quote_adql_name(table.name)}"


def _build_query(table: Table, parameters: Mapping[str, Any]) -> ServiceQuery:
    id_column = table.find_column(table.primary[0])
    value: float | str = parameters["ID"]
    if id_column.type.is_numeric:
        try:
            value = int(parameters["ID"])
        except ValueError:
            message = f"ID is {parameters['ID']!r}, but {id_column.name} of {table.qualified_name} is a number"
            raise ParamError(message, name="ID", remedy="write a whole number, such as ID=1") from None
    conditions = f"{quote_adql_name(id_column.name)} = {write_adql_literal(value)}"
    if parameters["CATALOGUE"] is not None:
        conditions += f" AND catalogue = {write_adql_literal(parameters['CATALOGUE'])}"
    table_name = write_candidate_table(table)
    return ServiceQuery(
        query=f"SELECT * FROM {table_name} WHERE {conditions} ORDER BY catalogue, candidate_rank, separation"
    )


FACE = ServiceFace(
    name="candidates",
    title="Why this partner?",
    description="Candidates of an object in the matched catalogues, with the reason why each is the partner or not.",
    params=(
        Param(name="ID", required=True, description="id of the object"),
        Param(name="CATALOGUE", description="name of a catalogue; default: all"),
    ),
    applies=has_candidates,
    missing_requirement=MISSING_REQUIREMENT,
    build_query=_build_query,
    path="/candidates/{table}",
    example="ID=1",
)
