"""The service ``match_limits``: which partners of a region would change with other limits, without a new match."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from hven.adql.syntax_tree import (
    CaseExpression,
    Comparison,
    Conjunction,
    DerivedTable,
    FunctionCall,
    Ident,
    Literal,
    NullPredicate,
    OrderItem,
    Query,
    Select,
    SelectItem,
    WindowExpression,
    build_column_ref,
    build_table_ref,
)
from hven.model.errors import ParamError
from hven.model.params import Param
from hven.model.types import FLOAT64
from hven.plugins.matching.candidate_service import MISSING_REQUIREMENT, is_match_candidate_table
from hven.plugins.matching.match_columns import SIGMA_COLUMN
from hven.services.face import ServiceFace, ServiceQuery

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.adql.syntax_tree import Expr
    from hven.model.table import Table

MAX_REGION_DEGREES = 10.0
LIMIT_COLUMNS = {"DMAG": "dmag", "NSIGMA": SIGMA_COLUMN.name}
PAIR_NAMES = "catalogue", "candidate_id", "separation", "score", "dmag", "is_partner"


def _is_candidate_table_with_positions(table: Table) -> bool:
    return is_match_candidate_table(table) and table.position is not None


def _build_partner_changes_query_tree(table: Table, *, limit_names: tuple[str, ...]) -> Query:
    """Build a query that chooses mutual partners again, and selects the pairs whose verdict changes.

    Slots: radius, the limits, catalogue, right ascension, declination and radius of the region.
    """
    id_name = table.primary[0]
    shown_names = (id_name, *(table.position or ()), *PAIR_NAMES)
    unfit = SelectItem(_build_outside_limits_flag(limit_names), Ident("is_unfit"))
    region = _build_catalogue_region_condition(table, 1 + len(limit_names))
    fit_pairs = Select((*_build_select_items(shown_names), unfit), build_table_ref(table), where=region)
    ranks = (
        SelectItem(_build_rank_expression(id_name, "candidate_id"), Ident("object_rank")),
        SelectItem(_build_rank_expression("candidate_id", id_name), Ident("partner_rank")),
    )
    ranked_pairs = Select(
        (*_build_select_items((*shown_names, "is_unfit")), *ranks), _build_derived_table(fit_pairs, "fit")
    )
    is_mutual = Conjunction(
        (
            _build_equality("is_unfit", Literal(0)),
            _build_equality("object_rank", Literal(1)),
            _build_equality("partner_rank", Literal(1)),
        )
    )
    mutual = SelectItem(_build_case_expression(is_mutual, 1, 0), Ident("is_mutual"))
    judged_pairs = Select((*_build_select_items(shown_names), mutual), _build_derived_table(ranked_pairs, "ranked"))
    change = SelectItem(
        _build_case_expression(_build_equality("is_mutual", Literal(1)), "gains", "loses"), Ident("partner_change")
    )
    was_partner = _build_case_expression(_build_equality("is_partner", Literal("true")), 1, 0)
    changed_pairs = Select(
        (*_build_select_items(shown_names), change),
        _build_derived_table(judged_pairs, "judged"),
        where=Comparison("<>", build_column_ref("is_mutual"), was_partner),
    )
    return Query(changed_pairs, _build_order_items(("catalogue", id_name, "candidate_id")))


def _build_outside_limits_flag(limit_names: Sequence[str]) -> Expr:
    """Build an expression that is 0 for pairs within the limits, and 1 for others."""
    conditions: list[Expr] = [
        NullPredicate(build_column_ref("score"), negated=True),
        Comparison("<=", build_column_ref("separation"), Literal(0.0, slot=0)),
    ]
    for slot, name in enumerate(limit_names, 1):
        difference = FunctionCall("ABS", (build_column_ref(name),))
        conditions.append(Comparison("<=", difference, Literal(0.0, slot=slot)))
    return _build_case_expression(Conjunction(tuple(conditions)), 0, 1)


def _build_catalogue_region_condition(table: Table, first_slot: int) -> Expr:
    circle = tuple(Literal(0.0, slot=first_slot + number) for number in (1, 2, 3))
    position = FunctionCall("POINT", tuple(build_column_ref(name) for name in table.position or ()))
    contains = FunctionCall("CONTAINS", (position, FunctionCall("CIRCLE", circle)))
    return Conjunction(
        (_build_equality("catalogue", Literal("", slot=first_slot)), Comparison("=", Literal(1), contains))
    )


def _build_rank_expression(owner_name: str, tie_name: str) -> Expr:
    """Build the rank of a pair among those of an object or a candidate."""
    partition = (build_column_ref("catalogue"), build_column_ref(owner_name))
    order = _build_order_items(("is_unfit", "score", tie_name))
    return WindowExpression(FunctionCall("ROW_NUMBER"), partition, order)


def _build_case_expression(condition: Expr, result: float | str, otherwise: float | str) -> Expr:
    return CaseExpression(None, ((condition, Literal(result)),), Literal(otherwise))


def _build_derived_table(select: Select, alias: str) -> DerivedTable:
    return DerivedTable(Query(select), Ident(alias))


def _build_equality(name: str, value: Literal) -> Expr:
    return Comparison("=", build_column_ref(name), value)


def _build_select_items(names: Iterable[str]) -> tuple[SelectItem, ...]:
    return tuple(SelectItem(build_column_ref(name)) for name in names)


def _build_order_items(names: Iterable[str]) -> tuple[OrderItem, ...]:
    return tuple(OrderItem(build_column_ref(name)) for name in names)


def _build_query(table: Table, parameters: Mapping[str, Any]) -> ServiceQuery:
    limits = {column: parameters[name] for name, column in LIMIT_COLUMNS.items() if parameters.get(name) is not None}
    if SIGMA_COLUMN.name in limits and SIGMA_COLUMN.name not in {column.name for column in table.columns}:
        raise ParamError(
            f"{table.qualified_name} has no column {SIGMA_COLUMN.name}, so NSIGMA can't be a limit",
            name="NSIGMA",
            remedy="use DMAG, or add `within_sigma` to a catalogue of the match",
        )
    return ServiceQuery(
        query=partial(_build_partner_changes_query_tree, table, limit_names=tuple(limits)),
        key=tuple(limits),
        values=(
            parameters["RADIUS"],
            *limits.values(),
            *(parameters[name] for name in ("CATALOGUE", "RA", "DEC", "SR")),
        ),
    )


FACE = ServiceFace(
    name="match_limits",
    title="Other limits of a match",
    description=(
        "The pairs of a region that would become partners, or would no longer be partners, if another radius or "
        "another limit for the difference in magnitude applied. This limit can be in units of the error. Partners "
        "are chosen as with best: mutual."
    ),
    params=(
        Param(name="CATALOGUE", required=True, description="name of a catalogue of the match"),
        Param(
            name="RA",
            type=FLOAT64,
            unit="deg",
            minimum=0,
            maximum=360,
            period=360,
            required=True,
            description="right ascension of the region",
        ),
        Param(
            name="DEC",
            type=FLOAT64,
            unit="deg",
            minimum=-90,
            maximum=90,
            required=True,
            description="declination of the region",
        ),
        Param(
            name="SR",
            type=FLOAT64,
            unit="deg",
            minimum=0,
            maximum=MAX_REGION_DEGREES,
            required=True,
            description="radius of the region",
        ),
        Param(
            name="RADIUS",
            type=FLOAT64,
            unit="arcsec",
            minimum=0,
            required=True,
            description="largest distance of a partner",
        ),
        Param(
            name="DMAG",
            type=FLOAT64,
            unit="mag",
            minimum=0,
            description="largest difference in magnitude; default: no limit",
        ),
        Param(
            name="NSIGMA",
            type=FLOAT64,
            minimum=0,
            description="largest difference in magnitude, in units of its error; default: no limit",
        ),
    ),
    applies=_is_candidate_table_with_positions,
    missing_requirement=f"{MISSING_REQUIREMENT} with positions",
    build_query=_build_query,
    path="/match-limits/{table}",
    example="CATALOGUE=gaia&RA=100&DEC=10&SR=1&RADIUS=1",
)
