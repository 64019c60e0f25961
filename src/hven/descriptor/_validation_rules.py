"""Read the ``rules`` of a table: conditions and named checks that its rows must pass."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.descriptor._column_expressions import parse_written_expression
from hven.descriptor._row_links import check_condition_columns
from hven.model.errors import suggest_spelling
from hven.model.resource import ValidationRule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.descriptor.value_schema import FaultCollector, LocatedKeyValues
    from hven.descriptor.written_yaml import LocatedYamlScalar


def read_validation_rules(
    key_path: str, fields: LocatedKeyValues, column_names: list[str] | None, faults: FaultCollector
) -> Iterator[ValidationRule]:
    """Read ``rules`` of a table; `column_names` is None while the columns are not all known."""
    vocabularies = fields.get("vocabularies", {})
    for name, rule_fields in fields.get("rules", {}).items():
        rule_path = f"{key_path}.rules.{name}"
        if "check" in rule_fields:
            _check_rule_columns(rule_path, rule_fields, column_names, faults)
            _check_rule_argument(rule_path, rule_fields, vocabularies, faults)
            yield _build_check_rule(str(name), rule_fields)
        elif "if" in rule_fields:
            condition: LocatedYamlScalar = rule_fields["if"]
            tree = parse_written_expression(condition, rule_path, faults, is_condition=True)
            if tree is not None and column_names is not None:
                check_condition_columns(condition, tree, rule_path, column_names, faults)
            yield _build_condition_rule(str(name), rule_fields)


def _build_condition_rule(name: str, rule_fields: LocatedKeyValues) -> ValidationRule:
    condition: LocatedYamlScalar = rule_fields["if"]
    return _build_rule(name, rule_fields, condition=condition, place=condition.place)


def _build_check_rule(name: str, rule_fields: LocatedKeyValues) -> ValidationRule:
    check_argument = rule_fields.get("of", rule_fields["check"])
    if check_argument is not None:
        check_argument = str(check_argument)
    return _build_rule(
        name,
        rule_fields,
        condition="",
        check=rule_fields["check"],
        columns=tuple(map(str, rule_fields.get("columns", ()))),
        of=check_argument,
        items=bool(rule_fields.get("list", False)),
        low=rule_fields.get("low"),
        high=rule_fields.get("high"),
        place=rule_fields.place,
    )


def _build_rule(name: str, rule_fields: LocatedKeyValues, **details: Any) -> ValidationRule:
    flag, message = rule_fields.get("flag"), rule_fields.get("message")
    return ValidationRule(
        name=name,
        severity=str(rule_fields.get("severity", "error" if flag is None else "warning")),
        message=None if message is None else str(message),  # reports copy it, without its place
        flag=flag,
        **details,
    )


def _check_rule_columns(
    rule_path: str, rule_fields: LocatedKeyValues, column_names: list[str] | None, faults: FaultCollector
) -> None:
    """Report columns that the table does not have, none at all, or an odd number for a check of pairs."""
    columns: tuple[LocatedYamlScalar, ...] = rule_fields.get("columns", ())
    for column in columns:
        if column_names is not None and column not in column_names:
            message = f"{rule_path}: the table has no column {str(column)!r}"
            faults.add_error(message, column.place, suggest_spelling(column, column_names))
    if not columns:
        faults.add_error(f"{rule_path} needs 'columns'", rule_fields.place)
    check_name = rule_fields["check"]
    if check_name in {"pair", "order"} and len(columns) % 2:
        message = f"{rule_path}: the check {str(check_name)!r} needs pairs of columns: [a_min, a_max, b_min, b_max]"
        faults.add_error(message, rule_fields.places["columns"])


def _check_rule_argument(
    rule_path: str, rule_fields: LocatedKeyValues, vocabularies: LocatedKeyValues, faults: FaultCollector
) -> None:
    """Check ``of``: a vocabulary of the table for ``words``, a regular expression for ``pattern``."""
    check_name = rule_fields["check"]
    check_argument = rule_fields.get("of", check_name)
    if check_name in {"words", "pattern"} and "of" not in rule_fields:
        faults.add_error(f"{rule_path}: the check {str(check_name)!r} needs 'of'", rule_fields.place)
    elif check_name == "words" and check_argument not in vocabularies:
        message = f"{rule_path}: there is no vocabulary {str(check_argument)!r}"
        faults.add_error(message, check_argument.place, suggest_spelling(check_argument, vocabularies))
    elif check_name == "pattern":
        try:
            re.compile(str(check_argument))
        except re.error as error:
            message = f"{rule_path}: {str(check_argument)!r} is not a regular expression: {error}"
            faults.add_error(message, check_argument.place)
