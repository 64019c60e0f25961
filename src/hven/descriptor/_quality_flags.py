"""``flags:`` of a table: the column whose bits say which rules a row breaks, described for readers.

And by what flagged rows are counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.descriptor._column_expressions import parse_written_expression
from hven.descriptor._columns import check_column_name
from hven.model.resource import QualityFlagColumn
from hven.model.table import Column
from hven.model.types import INT32, INT64

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor.value_schema import FaultCollector, KeyValues

MAX_FLAG_BIT = 62  # bit of a long: 63 is its sign
_MAX_BITS_BY_DATATYPE = {"unsignedByte": 7, "short": 14, "int": 30, "long": MAX_FLAG_BIT}
_FLAGS_UCD = "meta.code.qual"
DEFAULT_COLUMN_KEYS = frozenset({"type", "description", "ucd", "unit"})  # of the column: nothing else says it


def read_flags(
    key_path: str,
    fields: KeyValues,
    table_columns: Sequence[Column],
    given_attributes: Mapping[str, frozenset[str]],
    faults: FaultCollector,
) -> tuple[QualityFlagColumn | None, Column | None]:
    """Read ``flags:`` of a table.

    Parameters
    ----------
    table_columns, given_attributes
        The columns that the descriptor describes, and what it says of each.

    Returns
    -------
    flags, column
        The column as readers see it: with the meaning of each bit.
    """
    flag_fields = fields.get("flags")
    rules: Mapping[str, KeyValues] = fields.get("rules", {})
    flagged_rules = {str(name): item for name, item in rules.items() if "flag" in item}
    if flag_fields is None or "column" not in flag_fields:
        if "flags" not in fields.places:
            for name, item in flagged_rules.items():
                message = f"{key_path}.rules.{name}: the table has no column for flags"
                faults.add_error(message, item.places["flag"], "say which one, beside rules: flags: quality_flags")
        return None, None
    rules_by_bit: dict[int, str] = {}
    has_given_flags = bool(flag_fields.get("given", False))
    for name, item in flagged_rules.items():
        _check_flagged_rule(f"{key_path}.rules.{name}", item, faults, has_given_flags=has_given_flags)
        bit = int(item["flag"])
        if bit in rules_by_bit:
            unused_bit = next(
                number
                for number in range(MAX_FLAG_BIT + 1)
                if number not in {int(rule_fields["flag"]) for rule_fields in flagged_rules.values()}
            )
            faults.add_error(
                f"{key_path}.rules.{name}: bit {bit} is that of {rules_by_bit[bit]}",
                item.places["flag"],
                f"flag: {unused_bit} is free",
            )
        rules_by_bit.setdefault(bit, name)
    if not flagged_rules:
        faults.add_warning(
            f"{key_path}.flags: no rule sets a bit of it",
            flag_fields.place,
            "say flag: 0 beside the condition of a rule",
        )
    if not check_column_name(flag_fields["column"], "a column", faults):
        return None, None
    column = _build_flags_column(
        key_path, flag_fields, table_columns, given_attributes, flagged_rules, rules_by_bit, faults
    )
    by = {str(key): (value, value.place) for key, value in flag_fields.get("by", {}).items()}
    for key, (text, _) in by.items():
        parse_written_expression(text, f"{key_path}.flags.by.{key}", faults)
    bits = {owner: bit for bit, owner in sorted(rules_by_bit.items()) if flagged_rules[owner].get("severity") != "off"}
    informative = frozenset(name for name in bits if flagged_rules[name].get("severity") == "info")
    place = flag_fields["column"].place
    return QualityFlagColumn(
        column=column.name,
        bits=bits,
        group_expressions=by,
        is_supplied=has_given_flags,
        informative_rules=informative,
        place=place,
    ), column


def _check_flagged_rule(
    key_path: str, rule_fields: KeyValues, faults: FaultCollector, *, has_given_flags: bool
) -> None:
    has_test = "if" in rule_fields.places or "check" in rule_fields.places
    if has_given_flags and has_test:
        faults.add_error(
            f"{key_path}: the rows come with their flags (flags: given), and nothing is tested",
            rule_fields.place,
            "take 'if' away, or 'given'",
        )
    elif not has_given_flags and not has_test:
        faults.add_error(
            f"{key_path} lacks the key 'if'",
            rule_fields.place,
            "say the condition; or flags: {given: true} if the rows come with their flags",
        )
    if rule_fields.get("severity") == "error":
        faults.add_error(
            f"{key_path}: rows that are refused have no flag",
            rule_fields.places.get("severity", rule_fields.place),
            "severity: warning, or no 'flag'",
        )
    if rule_fields.get("check") == "unique":
        faults.add_error(
            f"{key_path}: which of two rows is the second one is no property of the row, so there is no flag for it",
            rule_fields.places["flag"],
            "take 'flag' away: such rows are refused, or counted",
        )


def _build_flags_column(
    key_path: str,
    flag_fields: KeyValues,
    table_columns: Sequence[Column],
    given_attributes: Mapping[str, frozenset[str]],
    flagged_rules: Mapping[str, KeyValues],
    rules_by_bit: Mapping[int, str],
    faults: FaultCollector,
) -> Column:
    """Build the column as readers see it: its description says what each bit means."""
    name = str(flag_fields["column"])
    place = flag_fields["column"].place
    highest = max(rules_by_bit, default=0)
    column = next((table_column for table_column in table_columns if table_column.name.lower() == name.lower()), None)
    if column is None:
        column = Column(name=name, ucd=_FLAGS_UCD, type=INT32 if highest <= _MAX_BITS_BY_DATATYPE["int"] else INT64)
    elif column.name != name:
        faults.add_error(f"{key_path}.flags: 'columns' writes it {column.name!r}", place, f"flags: {column.name}")
    elif "type" not in given_attributes[name]:
        column = column.copy_with(type=INT32 if highest <= _MAX_BITS_BY_DATATYPE["int"] else INT64)
    elif column.type.arraysize is not None or column.type.datatype not in _MAX_BITS_BY_DATATYPE:
        faults.add_error(
            f"{key_path}.flags: the column {name} is {column.type}, which has no bits", place, "type: int32, or int64"
        )
    elif highest > _MAX_BITS_BY_DATATYPE[column.type.datatype]:
        faults.add_error(f"{key_path}.flags: {column.type} has no bit {highest}", place, "type: int64")
    meanings = [
        f"{1 << bit} {owner}{_format_rule_message(flagged_rules[owner])}"
        for bit, owner in sorted(rules_by_bit.items())
        if flagged_rules[owner].get("severity") != "off"
    ]
    text = (column.description or "Quality flags").rstrip(".")
    if meanings:
        bit_descriptions = f": 0 if nothing is wrong, else the sum of {'; '.join(meanings)}"
    else:
        bit_descriptions = ": 0"
    # a mirror's says it already
    if text.endswith(bit_descriptions.rstrip(".")):
        description = text
    else:
        description = text + bit_descriptions
    return column.copy_with(
        description=description,
        ucd=column.ucd or _FLAGS_UCD,
        required=column.required or not flag_fields.get("given", False),
    )


def _format_rule_message(rule: KeyValues) -> str:
    message = " ".join(str(rule.get("message", "")).split())
    if message:
        return f" ({message})"
    return ""


__all__ = ["DEFAULT_COLUMN_KEYS", "MAX_FLAG_BIT", "read_flags"]
