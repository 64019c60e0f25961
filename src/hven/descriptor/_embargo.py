"""``embargo:`` of a table: what it says, the release date of each row that it makes, and in words what it means."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hven.adql.syntax_tree import (
    CaseExpression,
    CastExpression,
    Comparison,
    Expr,
    FunctionCall,
    Literal,
    NullPredicate,
    ValueMetadata,
)
from hven.descriptor import _expression_trees as expression_trees
from hven.descriptor._column_expressions import parse_written_expression
from hven.descriptor.compiled_mapping import FaultReportedError
from hven.model.resource import EmbargoPolicy, EmbargoTerm, ValidationRule
from hven.model.table import Column
from hven.model.types import TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.descriptor._name_resolution import ExpressionNameResolver, TargetColumns
    from hven.descriptor.value_schema import FaultCollector, LocatedKeyValues
    from hven.descriptor.written_yaml import LocatedYamlScalar

RELEASE_DATE_COLUMN = "obs_release_date"
DEFAULT_COLUMN_KEYS = frozenset({"type", "description", "ucd"})


def read_embargo(
    key_path: str,
    fields: LocatedKeyValues,
    table_columns: Sequence[Column],
    given_attributes: Mapping[str, frozenset[str]],
    faults: FaultCollector,
) -> tuple[EmbargoPolicy | None, Column | None]:
    """Read ``embargo:`` of a table; return it and the column of release dates."""
    embargo_fields: LocatedKeyValues | None = fields.get("embargo")
    if embargo_fields is None or not {"from", "months"} <= embargo_fields.keys():
        return None, None
    where = f"{key_path}.embargo"
    for key in ("from", "exempt", "delivered"):
        if key in embargo_fields:
            parse_written_expression(embargo_fields[key], f"{where}.{key}", faults, is_condition=key != "from")
    name = str(embargo_fields.get("column", RELEASE_DATE_COLUMN))
    column = next((table_column for table_column in table_columns if table_column.name == name), Column(name=name))
    if "type" not in given_attributes.get(name, ()):
        column = column.copy_with(type=TIMESTAMP)
    elif not column.type.is_timestamp:
        faults.add_error(
            f"{where}: {name} must be a time, not {column.type}", embargo_fields.place, "write `type: timestamp`"
        )
    policy = EmbargoPolicy(
        column=name,
        start_expression=embargo_fields["from"],
        duration_months=_read_embargo_term(
            embargo_fields["months"], f"{where}.months", _parse_month_count, "a whole number of months", faults
        ),
        not_before=_read_embargo_term(
            embargo_fields["not_before"], f"{where}.not_before", _parse_embargo_end, "a date: 2027-01-31", faults
        )
        if "not_before" in embargo_fields
        else None,
        exempt_condition=embargo_fields.get("exempt"),
        delivered_condition=embargo_fields.get("delivered"),
        place=embargo_fields.place,
    )
    release_description = f"When the row is released: {policy.describe()}"
    return policy, column.copy_with(
        description=column.description or release_description, ucd=column.ucd or "time.release"
    )


def _read_embargo_term(
    term_fields: LocatedKeyValues,
    key_path: str,
    parse_value: Callable[[str], int | str],
    expected_form: str,
    faults: FaultCollector,
) -> EmbargoTerm:
    def parse_written_value(value: LocatedYamlScalar) -> int | str | None:
        with suppress(ValueError):
            return parse_value(str(value))
        faults.add_error(f"{key_path}: {str(value)!r} is not {expected_form}", value.place)
        return None

    values = {
        str(key): parsed_value
        for key, value in term_fields.get("values", {}).items()
        if (parsed_value := parse_written_value(value)) is not None
    }
    if ("from" in term_fields) != ("values" in term_fields):
        faults.add_error(
            f"{key_path}: 'from' and 'values' must be given together",
            term_fields.place,
            "write both, as in `{from: column, values: {a: 12}}`",
        )
    elif not term_fields:
        faults.add_error(f"{key_path} is empty", term_fields.place, f"write {expected_form}")
    elif "from" in term_fields:
        parse_written_expression(term_fields["from"], f"{key_path}.from", faults)
    expression = term_fields.get("from")
    return EmbargoTerm(
        expression=expression,
        values=values,
        default=parse_written_value(term_fields["default"]) if "default" in term_fields else None,
    )


def _parse_month_count(text: str) -> int:
    if not text.isdecimal() or len(text) > 4:
        raise ValueError
    return int(text)


def _parse_embargo_end(text: str) -> str:
    """Read a moment, in UTC; a bare date counts to its end."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is not None:
        instant = instant.astimezone(UTC).replace(tzinfo=None)
    return (instant if ":" in text else instant + timedelta(hours=23, minutes=59, seconds=59)).isoformat()


def build_undated_embargo_rule(policy: EmbargoPolicy) -> ValidationRule:
    """Return the rule that counts rows without a release date, which stay closed."""
    return ValidationRule(
        name="embargo",
        condition=f'"{policy.column}" IS NOT NULL',
        severity="warning",
        message=(
            f"embargo without a date: neither `{policy.column}` nor `{policy.start_expression}` gives a date, so the "
            "row stays closed"
        ),
        place=policy.place,
    )


def build_release_date_expression(
    policy: EmbargoPolicy,
    expression_names: ExpressionNameResolver,
    targets: TargetColumns,
    tree: Expr,
    meta: ValueMetadata,
) -> tuple[Expr, ValueMetadata]:
    """Make the release date of a row; `tree` is that which it has itself.

    What cannot be read, and a length that is not known, make no date: nothing is opened by a slip.
    """
    key_path = f"{expression_names.key_path}.embargo"
    months = _build_term_expression(policy.duration_months, f"{key_path}.months", expression_names, targets)
    if policy.exempt_condition is not None:
        months = CaseExpression(
            None,
            ((_bind_condition(policy.exempt_condition, f"{key_path}.exempt", expression_names, targets), Literal(0)),),
            months,
        )
    embargo_start = expression_names.bind_expression_text(policy.start_expression, f"{key_path}.from", targets)
    date: Expr = FunctionCall(
        "ADD_MONTHS",
        (_cast_to_release_time(*embargo_start, policy.start_expression, f"{key_path}.from", expression_names), months),
    )
    own_date = _cast_to_release_time(tree, meta, policy.start_expression, f"{key_path}.column", expression_names)
    date = CaseExpression(None, ((NullPredicate(tree), date),), own_date)
    if policy.not_before is not None:
        term_value = _build_term_expression(policy.not_before, f"{key_path}.not_before", expression_names, targets)
        bound = CastExpression(term_value, "TIMESTAMP")
        date = CaseExpression(None, ((Comparison(">", bound, date), bound),), date)
    if policy.delivered_condition is not None:
        date = CaseExpression(
            None,
            (
                (
                    _bind_condition(policy.delivered_condition, f"{key_path}.delivered", expression_names, targets),
                    own_date,
                ),
            ),
            date,
        )
    expression_meta = expression_names.derive_expression_meta(date, policy.start_expression, key_path)
    return date, replace(expression_meta, column=None)


def _build_term_expression(
    term: EmbargoTerm, key_path: str, expression_names: ExpressionNameResolver, targets: TargetColumns
) -> Expr:
    if term.default is None:
        default_literal = expression_trees.NULL_LITERAL
    else:
        default_literal = Literal(term.default)
    if term.expression is None:
        return default_literal
    term_column = expression_trees.build_text_cast(
        *expression_names.bind_expression_text(term.expression, f"{key_path}.from", targets)
    )
    word = FunctionCall("LOWER", (FunctionCall("TRIM", (term_column,)),))
    return CaseExpression(
        word,
        tuple((Literal(key.strip().lower()), Literal(value)) for key, value in term.values.items()),
        default_literal,
    )


def _bind_condition(
    condition_text: LocatedYamlScalar, key_path: str, expression_names: ExpressionNameResolver, targets: TargetColumns
) -> Expr:
    condition = expression_names.bind_condition_text(condition_text, condition_text.place, key_path, targets)
    if condition is None:
        raise FaultReportedError
    return condition


def _cast_to_release_time(
    tree: Expr,
    meta: ValueMetadata,
    source_text: LocatedYamlScalar,
    key_path: str,
    expression_names: ExpressionNameResolver,
) -> Expr:
    if meta.type.is_numeric and tree is not expression_trees.NULL_LITERAL:  # a modified Julian date
        return FunctionCall("ADD_MONTHS", (tree, Literal(0)))
    try:
        return expression_trees.cast_to_type(tree, meta, TIMESTAMP)
    except expression_trees.UnsupportedCastError as error:
        expression_names.faults.add_error(f"{key_path}: {error.message}", source_text.place, error.remedy)
        raise FaultReportedError from None
