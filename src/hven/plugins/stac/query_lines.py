"""Write the search of a table's page as CQL2 and as parameters of the form, beside ADQL.

A condition that CQL2 does not have is not written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from hven.adql.syntax_tree import (
    BetweenPredicate,
    BinaryOperation,
    CastExpression,
    ColumnRef,
    Comparison,
    Conjunction,
    Disjunction,
    Expr,
    FunctionCall,
    InPredicate,
    LikePredicate,
    Literal,
    Negation,
    NullPredicate,
    UnaryOperation,
)
from hven.plugins.stac.cql2_conditions import build_filter_condition
from hven.plugins.stac.item_tables import ItemTable, find_item_table
from hven.plugins.stac.reader_catalogue import SERVICE_NAME
from hven.portal.api.table_pages import TablePageExtension

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.portal.api.table_rows import TableView


_NEGATABLE_PREDICATES = (BetweenPredicate, InPredicate, LikePredicate, NullPredicate)
_TEXT_FUNCTIONS = ("IVO_HASHLIST_HAS", "IVO_NOCASEMATCH")


class UntranslatableError(ValueError):
    """CQL2 has no such condition."""


def translate_to_cql2(condition: Expr, item_table: ItemTable) -> dict[str, Any]:
    """Translate a condition of ADQL to CQL2 JSON.

    Parameters
    ----------
    condition
        Condition on the rows of the table.
    item_table
        The table.

    Returns
    -------
    filter
        CQL2 JSON, whose properties have the names that they have in items.

    Raises
    ------
    UntranslatableError
        CQL2 has no such condition.
    """
    match condition:
        case Conjunction(parts) | Disjunction(parts):
            op = "and" if isinstance(condition, Conjunction) else "or"
            return {"op": op, "args": [translate_to_cql2(part, item_table) for part in parts]}
        case Negation(operand):
            return {"op": "not", "args": [translate_to_cql2(operand, item_table)]}
        case Comparison("=", FunctionCall(name, (operand, Literal(str(text)))), Literal(1)) if name in _TEXT_FUNCTIONS:
            return _translate_text_function(name, _translate_value(operand, item_table), text)
        case Comparison(op, left, right):
            return {"op": op, "args": [_translate_value(left, item_table), _translate_value(right, item_table)]}
        case _:
            translated = _translate_predicate(condition, item_table)
    if isinstance(condition, _NEGATABLE_PREDICATES) and condition.negated:
        return {"op": "not", "args": [translated]}
    return translated


def _translate_text_function(name: str, operand: Any, text: str) -> dict[str, Any]:
    """Translate the functions of RegTAP that compare without case: a pattern, or a part of a list joined by #."""
    patterns = [text]
    if name == "IVO_HASHLIST_HAS":
        if {"%", "_"} & set(text):
            raise UntranslatableError(name)
        patterns = [text, f"{text}#%", f"%#{text}", f"%#{text}#%"]
    conditions = [
        {"op": "like", "args": [{"op": "casei", "args": [operand]}, {"op": "casei", "args": [pattern]}]}
        for pattern in patterns
    ]
    return conditions[0] if len(conditions) == 1 else {"op": "or", "args": conditions}


def _translate_predicate(condition: Expr, item_table: ItemTable) -> dict[str, Any]:
    match condition:
        case BetweenPredicate(operand, low, high):
            return {"op": "between", "args": [_translate_value(part, item_table) for part in (operand, low, high)]}
        case InPredicate(operand, choices) if isinstance(choices, tuple):
            values = [_translate_value(choice, item_table) for choice in choices]
            return {"op": "in", "args": [_translate_value(operand, item_table), values]}
        case NullPredicate(operand):
            return {"op": "isNull", "args": [_translate_value(operand, item_table)]}
        case LikePredicate(operand, pattern):
            args = [_translate_value(operand, item_table), _translate_value(pattern, item_table)]
            if condition.ignore_case:
                args = [{"op": "casei", "args": [arg]} for arg in args]
            return {"op": "like", "args": args}
    raise UntranslatableError(type(condition).__name__)


def _translate_value(value: Expr, item_table: ItemTable) -> Any:
    match value:
        case Literal(content):
            return content
        case UnaryOperation("-", Literal(content)) if isinstance(content, int | float):
            return -content
        case ColumnRef():
            column = item_table.columns_by_name.get(value.name.name.lower())
            if column is not None:
                return {"property": f"{item_table.prefix}{column.name}"}
        case FunctionCall("LOWER", (operand,)):
            return {"op": "casei", "args": [_translate_value(operand, item_table)]}
        case CastExpression(Literal(str(text)), "TIMESTAMP"):
            return {"timestamp": f"{text.rstrip('Z').replace(' ', 'T')}Z"}
        case BinaryOperation(op, left, right) if op in {"+", "-", "*"}:
            return {"op": op, "args": [_translate_value(left, item_table), _translate_value(right, item_table)]}
    raise UntranslatableError(type(value).__name__)


def _list_search_in_cql2(table_view: TableView) -> Sequence[Mapping[str, str]]:
    """List the search in CQL2, and as parameters of the form."""
    item_table = find_item_table(table_view.table)
    condition = table_view.search.build_condition()
    if item_table is None or condition is None or not table_view.table.is_served_by(SERVICE_NAME):
        return []
    try:
        cql2_filter = translate_to_cql2(condition, item_table)
        build_filter_condition(cql2_filter, item_table)
    except ValueError:
        return []
    lines = [{"name": "CQL2 JSON", "text": orjson.dumps(cql2_filter, option=orjson.OPT_INDENT_2).decode()}]
    try:
        import cql2  # noqa: PLC0415  (an extra)
    except ImportError:
        pass
    else:
        lines.insert(0, {"name": "CQL2", "text": cql2.Expr(cql2_filter).to_text()})
    return [*lines, {"name": "Form", "text": table_view.search.write_query_string()}]


QUERY_LINES = TablePageExtension(list_query_lines=_list_search_in_cql2)
