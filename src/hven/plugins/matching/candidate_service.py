"""The service ``candidates``: why an object has its partner, from a table of candidates (``rows: candidates``)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from hven.adql import syntax_tree
from hven.model.errors import ParamError
from hven.model.params import Param
from hven.plugins.matching.match_columns import CANDIDATE_COLUMNS
from hven.services.face import ServiceFace, ServiceQuery

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.table import Table

MISSING_REQUIREMENT = "candidates of a match (`source: {kind: match, rows: candidates}`)"
ORDER_NAMES = "catalogue", "candidate_rank", "separation", "candidate_id"


def is_match_candidate_table(table: Table) -> bool:
    """Return whether a table lists the candidates of a match.

    Parameters
    ----------
    table
        Any table.
    """
    names = {column.name for column in table.columns}
    return bool(table.primary) and all(column.name in names for column in CANDIDATE_COLUMNS)


def _build_candidate_query_tree(table: Table, *, has_catalogue: bool) -> syntax_tree.Query:
    """Build a query of an object's candidates, with its id in slot 0 and the catalogue in slot 1."""
    id_name = table.primary[0]
    id_value: int | str = 0 if table.find_column(id_name).type.is_numeric else ""
    conditions = [
        syntax_tree.Comparison("=", syntax_tree.build_column_ref(id_name), syntax_tree.Literal(id_value, slot=0))
    ]
    if has_catalogue:
        catalogue = syntax_tree.build_column_ref("catalogue")
        conditions.append(syntax_tree.Comparison("=", catalogue, syntax_tree.Literal("", slot=1)))
    return syntax_tree.build_table_query(
        table,
        [column.name for column in table.columns if not column.hidden],
        syntax_tree.join_conditions_with_and(*conditions),
        [syntax_tree.OrderItem(syntax_tree.build_column_ref(name)) for name in ORDER_NAMES],
    )


def _build_query(table: Table, parameters: Mapping[str, Any]) -> ServiceQuery:
    id_column = table.find_column(table.primary[0])
    values: list[int | str] = [parameters["ID"]]
    if id_column.type.is_numeric:
        try:
            values = [int(parameters["ID"])]
        except ValueError:
            message = f"ID is {parameters['ID']!r}, but {id_column.name} of {table.qualified_name} is a number"
            raise ParamError(message, name="ID", remedy="write a whole number, such as ID=1") from None
    has_catalogue = parameters["CATALOGUE"] is not None
    if has_catalogue:
        values.append(parameters["CATALOGUE"])
    return ServiceQuery(
        query=partial(_build_candidate_query_tree, table, has_catalogue=has_catalogue),
        key=(has_catalogue,),
        values=tuple(values),
    )


FACE = ServiceFace(
    name="candidates",
    title="Why this partner?",
    description="Candidates of an object in the matched catalogues, with the reason why each is or isn't the partner.",
    params=(
        Param(name="ID", required=True, description="id of the object"),
        Param(name="CATALOGUE", description="name of a catalogue; default: all"),
    ),
    applies=is_match_candidate_table,
    missing_requirement=MISSING_REQUIREMENT,
    build_query=_build_query,
    path="/candidates/{table}",
    example="ID=1",
)
