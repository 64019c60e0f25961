"""Read ``flags`` of a table: the column whose bits say which rules a row breaks, and how flagged rows are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.descriptor._column_expressions import parse_written_expression
from hven.descriptor._columns import check_column_name
from hven.model.resource import QualityFlagColumn
from hven.model.table import Column
from hven.model.types import INT32, INT64

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor.value_schema import FaultCollector, LocatedKeyValues

MAX_FLAG_BIT = 62  # bit of a long: 63 is its sign
_MAX_BITS_BY_DATATYPE = {"unsignedByte": 7, "short": 14, "int": 30, "long": MAX_FLAG_BIT}
_FLAGS_UCD = "meta.code.qual"
DEFAULT_COLUMN_KEYS = frozenset({"type", "description", "ucd", "unit"})  # attributes that the column itself determines


def read_quality_flags(
    key_path: str,
    fields: LocatedKeyValues,
    table_columns: Sequence[Column],
    given_attributes: Mapping[str, frozenset[str]],
    faults: FaultCollector,
) -> tuple[QualityFlagColumn | None, Column | None]:
    """Read ``flags:`` of a table.

    Parameters
    ----------
    table_columns, given_attributes
        Columns of the descriptor, and the attributes that it gives for each.

    Returns
    -------
    flags, column
        The column as readers see it, with the meaning of each bit.
    """
    flag_fields = fields.get("flags")
    rules: Mapping[str, LocatedKeyValues] = fields.get("rules", {})
    flagged_rules = {str(name): rule for name, rule in rules.items() if "flag" in rule}
    if flag_fields is None or "column" not in flag_fields:
        if "flags" not in fields.places:
            for name, rule in flagged_rules.items():
                message = f"{key_path}.rules.{name}: the table has no column for flags"
                faults.add_error(
                    message, rule.places["flag"], "next to 'rules', specify a column for flags: `flags: quality_flags`"
                )
        return None, None
    has_given_flags = bool(flag_fields.get("given", False))
    for name, rule in flagged_rules.items():
        _check_flagged_rule(f"{key_path}.rules.{name}", rule, faults, has_given_flags=has_given_flags)
    rules_by_bit = _map_flag_bits_to_rules(key_path, flagged_rules, faults)
    if not flagged_rules:
        message = f"{key_path}.flags: no rule sets a bit of this column"
        faults.add_warning(message, flag_fields.place, "write `flag: 0` next to the condition of a rule")
    if not check_column_name(flag_fields["column"], "a column", faults):
        return None, None
    written_column = _find_flags_column(key_path, flag_fields, table_columns, faults)
    column = _choose_flags_column_type(
        key_path, written_column, flag_fields, given_attributes, faults, highest_bit=max(rules_by_bit, default=0)
    )
    column = _with_flags_description(column, flag_fields, flagged_rules, rules_by_bit)
    group_expressions = {str(name): (text, text.place) for name, text in flag_fields.get("by", {}).items()}
    for name, (text, _) in group_expressions.items():
        parse_written_expression(text, f"{key_path}.flags.by.{name}", faults)
    severities = {name: rule.get("severity") for name, rule in flagged_rules.items()}
    bits = {name: bit for bit, name in sorted(rules_by_bit.items()) if severities[name] != "off"}
    flags = QualityFlagColumn(
        column=column.name,
        bits=bits,
        group_expressions=group_expressions,
        is_supplied=has_given_flags,
        informative_rules=frozenset(name for name in bits if severities[name] == "info"),
        place=flag_fields["column"].place,
    )
    return flags, column


def _map_flag_bits_to_rules(
    key_path: str, flagged_rules: Mapping[str, LocatedKeyValues], faults: FaultCollector
) -> dict[int, str]:
    """Return the rule of each bit, and report bits that two rules have."""
    used_bits = {int(rule["flag"]) for rule in flagged_rules.values()}
    rules_by_bit: dict[int, str] = {}
    for name, rule in flagged_rules.items():
        bit = int(rule["flag"])
        first_rule = rules_by_bit.setdefault(bit, name)
        if first_rule != name:
            unused_bit = next(number for number in range(MAX_FLAG_BIT + 1) if number not in used_bits)
            faults.add_error(
                f"{key_path}.rules.{name}: the rule {first_rule!r} already uses bit {bit}",
                rule.places["flag"],
                f"choose a bit that no rule uses, such as `flag: {unused_bit}`",
            )
    return rules_by_bit


def _check_flagged_rule(
    key_path: str, rule_fields: LocatedKeyValues, faults: FaultCollector, *, has_given_flags: bool
) -> None:
    has_test = "if" in rule_fields.places or "check" in rule_fields.places
    if has_given_flags and has_test:
        faults.add_error(
            f"{key_path}: the rows already have flags (`given: true`), so Hven does not test this rule",
            rule_fields.place,
            "remove 'if' or 'check' from this rule, or remove `given: true`",
        )
    elif not has_given_flags and not has_test:
        faults.add_error(
            f"{key_path} lacks the key 'if'",
            rule_fields.place,
            "write the condition; if the rows already have flags, write `flags: {given: true}` instead",
        )
    if rule_fields.get("severity") == "error":
        faults.add_error(
            f"{key_path}: Hven rejects rows that break this rule, so these rows cannot have a flag",
            rule_fields.places.get("severity", rule_fields.place),
            "write `severity: warning`, or remove 'flag'",
        )
    if rule_fields.get("check") == "unique":
        faults.add_error(
            f"{key_path}: this check compares rows with each other, so it cannot set a flag",
            rule_fields.places["flag"],
            "remove 'flag'; Hven then rejects or counts the rows that break the rule",
        )


def _find_flags_column(
    key_path: str, flag_fields: LocatedKeyValues, table_columns: Sequence[Column], faults: FaultCollector
) -> Column | None:
    """Find the column of flags among the columns that the descriptor describes."""
    name = str(flag_fields["column"])
    for column in table_columns:
        if column.name.lower() == name.lower():
            if column.name != name:
                message = f"{key_path}.flags: 'columns' spells this name {column.name!r}"
                faults.add_error(message, flag_fields["column"].place, f"write `flags: {column.name}`")
            return column
    return None


def _choose_flags_column_type(
    key_path: str,
    column: Column | None,
    flag_fields: LocatedKeyValues,
    given_attributes: Mapping[str, frozenset[str]],
    faults: FaultCollector,
    *,
    highest_bit: int,
) -> Column:
    """Give the column of flags the smallest type that has all bits, or check the type that the descriptor gives."""
    name = str(flag_fields["column"])
    place = flag_fields["column"].place
    default_type = INT64
    if highest_bit <= _MAX_BITS_BY_DATATYPE["int"]:
        default_type = INT32
    if column is None:
        return Column(name=name, ucd=_FLAGS_UCD, type=default_type)
    if column.name != name:  # a fault already
        return column
    if "type" not in given_attributes[name]:
        return column.copy_with(type=default_type)
    if column.type.arraysize is not None or column.type.datatype not in _MAX_BITS_BY_DATATYPE:
        message = f"{key_path}.flags: the column {name} is {column.type}, which has no bits"
        faults.add_error(message, place, "write `type: int32`, or `type: int64`")
    elif highest_bit > _MAX_BITS_BY_DATATYPE[column.type.datatype]:
        faults.add_error(f"{key_path}.flags: {column.type} has no bit {highest_bit}", place, "write `type: int64`")
    return column


def _with_flags_description(
    column: Column,
    flag_fields: LocatedKeyValues,
    flagged_rules: Mapping[str, LocatedKeyValues],
    rules_by_bit: Mapping[int, str],
) -> Column:
    """Describe the column for readers: its description says what each bit means."""
    meanings = []
    for bit, name in sorted(rules_by_bit.items()):
        rule = flagged_rules[name]
        if rule.get("severity") != "off":
            meanings.append(f"{1 << bit} {name}{_format_rule_message(rule)}")
    bit_descriptions = ": 0"
    if meanings:
        bit_descriptions = f": 0 if nothing is wrong, else the sum of {'; '.join(meanings)}"
    description = (column.description or "Quality flags").rstrip(".")
    if not description.endswith(bit_descriptions.rstrip(".")):  # the description of a mirror says it already
        description += bit_descriptions
    return column.copy_with(
        description=description,
        ucd=column.ucd or _FLAGS_UCD,
        required=column.required or not flag_fields.get("given", False),
    )


def _format_rule_message(rule: LocatedKeyValues) -> str:
    message = " ".join(str(rule.get("message", "")).split())
    if message:
        return f" ({message})"
    return ""
