"""Translate a joint search to the columns of each table, and build the query of the list over all of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hven.adql import syntax_tree
from hven.model import units
from hven.model.errors import format_message
from hven.plugins.joint_search.joint_form_table import find_field_columns
from hven.plugins.joint_search.joint_search_keys import OWN_COLUMN
from hven.portal.api.column_values import build_column_ref
from hven.portal.api.page_rows import NEAR_PARAMETER, REGION_PARAMETER, parse_search, quote_parameter_name
from hven.portal.api.search_forms import SearchFault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Column, Table
    from hven.plugins.joint_search.joint_search_keys import JointChoice, JointField, JointSearchRules, JointTable
    from hven.portal.api.table_rows import TableSearch

WORDS_PARAMETER = "_q"
TABLE_COLUMN, KEY_COLUMN = (
    "found_in",
    "row_key",
)  # columns of the list: the short name of the table, and the key of the row
NO_VALUE = "null"
NOW_WORD = "now"
RANGE_SIGN = ".."
_EXPONENT_PATTERN = re.compile(r"(?<=[\d.])[eE](?=[-+\d])")
_LETTER_PATTERN = re.compile(r"[^\W\d_]")


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslatedSearch:
    """A joint search in one of its tables.

    Attributes
    ----------
    key, label
        Short name of the table, and what its rows are.
    search
        The search of the table; its conditions on columns are those that an address of the table's page can have.
    condition
        The condition of all fields; None: all rows.
    items
        What the list selects for each of its columns, by the name of the column in the form.
    missing
        Names of the fields with conditions that the table does not have: none of its rows is found.
    """

    key: str
    label: str
    search: TableSearch
    condition: syntax_tree.Expr | None
    items: Mapping[str, syntax_tree.Expr]
    missing: tuple[str, ...] = ()

    def build_count_query(self) -> syntax_tree.Query:
        """Return the query of the number of rows."""
        return self.search.build_count_query_where(self.condition)

    def build_row_query(self) -> syntax_tree.Query:
        """Return the query of the rows with all shown columns of the table."""
        query = self.search.build_query()
        select = query.body
        if isinstance(select, syntax_tree.Select):
            select = replace(select, where=self.condition)
        return replace(query, body=select)


def find_choice_faults(search: TableSearch, rules: JointSearchRules) -> list[SearchFault]:
    """Find values of fields with choices that are none of the choices.

    Parameters
    ----------
    search
        The search of the form.
    rules
        The key of the collection.
    """
    faults = []
    fields = {joint_field.name: joint_field for joint_field in rules.fields if joint_field.choices}
    for name, values in search.conditions:
        joint_field = fields.get(name)
        if joint_field is None:
            continue
        for value in _split_values(values):
            if value != NO_VALUE and _find_choice(joint_field, value) is None:
                message = format_message("{value!r} is not a choice of {name!r}", value[:80], name)
                names = ", ".join(choice.name for choice in joint_field.choices)
                faults.append(
                    SearchFault(field=name, message=message, remedy=format_message("use one of {names}", names))
                )
    return faults


def translate_search(
    search: TableSearch, rules: JointSearchRules, joint_table: JointTable, table: Table, moment: datetime
) -> TranslatedSearch:
    """Translate the search of a form to the columns of a table.

    Parameters
    ----------
    search
        The search of the form; fields with choices have valid values only.
    rules
        The key of the collection.
    joint_table
        The table in the key.
    table
        The table, as the reader sees it.
    moment
        The time that `now` stands for.
    """
    translator = _TableTranslator(joint_table, table, moment)
    fields = {joint_field.name: joint_field for joint_field in rules.fields}
    pairs: list[tuple[str, str]] = [(WORDS_PARAMETER, search.words)] if search.words else []
    if search.near is not None:
        circle = search.near
        pairs.append((NEAR_PARAMETER, f"{circle.longitude!r},{circle.latitude!r},{circle.radius_degrees!r}"))
    if search.inside:
        pairs.append((REGION_PARAMETER, search.inside))
    tests: list[syntax_tree.Expr] = []
    missing: list[str] = []
    for name, values in search.conditions:
        if name in fields:
            field_name = name
        else:
            field_name = name.rpartition("_")[0]
        joint_field = fields[field_name]
        if joint_field.choices:
            test = translator.build_choice_test(joint_field, _split_values(values))
            if test is None:
                missing.append(name)
            else:
                tests.append(test)
            continue
        column_name = translator.find_condition_name(joint_field, name)
        if column_name is None:
            missing.append(name)
        else:
            unit = translator.find_other_unit(joint_field, search.table)
            pairs += [(quote_parameter_name(column_name), _write_units(value, unit)) for value in values]
    table_search = parse_search(pairs, table)
    missing += [fault.field for fault in table_search.faults]
    condition = syntax_tree.join_conditions_with_and(*filter(None, [table_search.build_condition(), *tests]))
    if missing:
        condition = syntax_tree.Comparison("=", syntax_tree.Literal(1), syntax_tree.Literal(0))
    items = {column.name: translator.build_item(column, fields) for column in search.list_shown_columns()}
    return TranslatedSearch(
        key=joint_table.key,
        label=joint_table.label or table.title or joint_table.table_name,
        search=table_search,
        condition=condition,
        items={TABLE_COLUMN: syntax_tree.Literal(joint_table.key), KEY_COLUMN: translator.build_key_item(), **items},
        missing=tuple(dict.fromkeys(missing)),
    )


def build_list_query(
    translated: Sequence[TranslatedSearch],
    order: Sequence[tuple[str, bool]],
    *,
    row_limit: int | None = None,
    offset: int = 0,
) -> syntax_tree.Query:
    """Build the query of the list over several tables.

    Rows with equal values are sorted by their tables and keys, so that pages do not repeat rows.

    Parameters
    ----------
    translated
        The search in each table; at least one.
    order
        Columns of the form to sort by, each with whether it descends.
    row_limit, offset
        Number of rows, and number of rows to skip. None: all rows.
    """
    body: syntax_tree.Select | syntax_tree.SetOperation | None = None
    for table_search in translated:
        items = tuple(
            syntax_tree.SelectItem(expr, build_column_ref(name).name) for name, expr in table_search.items.items()
        )
        select = syntax_tree.Select(items, table_search.search.build_from_item(), where=table_search.condition)
        if body is None:
            body = select
        else:
            body = syntax_tree.SetOperation("UNION", body, select, all=True)
    assert body is not None  # noqa: S101  (callers have at least one table)
    source = syntax_tree.DerivedTable(syntax_tree.Query(body), syntax_tree.Ident("found"))
    outer_items = tuple(syntax_tree.SelectItem(build_column_ref(name)) for name in translated[0].items)
    top = None
    if row_limit is not None:
        top = syntax_tree.Literal(row_limit)
    complete_order = [*order, (TABLE_COLUMN, False), (KEY_COLUMN, False)]
    order_items = [
        syntax_tree.OrderItem(build_column_ref(name), descending=is_descending)
        for name, is_descending in complete_order
    ]
    return syntax_tree.Query(
        syntax_tree.Select(outer_items, source, top=top),
        order_by=tuple(order_items),
        offset=syntax_tree.Literal(offset) if offset else None,
    )


def _split_values(values: Sequence[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def _write_units(value: str, unit: str) -> str:
    """Write the unit behind each number of a condition that has none: `1..2` becomes `1 um..2 um`."""
    if not unit or _LETTER_PATTERN.search(_EXPONENT_PATTERN.sub("", value)):
        return value
    items = [item.split(RANGE_SIGN) for item in value.split(",")]
    return ",".join(RANGE_SIGN.join(f"{end} {unit}" if end.strip() else end for end in ends) for ends in items)


def _find_choice(joint_field: JointField, value: str) -> JointChoice | None:
    folded_value = value.casefold()
    for choice in joint_field.choices:
        if choice.name.casefold() == folded_value:
            return choice
    return None


class _TableTranslator:
    """Translator of fields to the columns of one table."""

    def __init__(self, joint_table: JointTable, table: Table, moment: datetime) -> None:
        self._key = joint_table.key
        self._table = table
        self._moment = moment.astimezone(UTC).isoformat(timespec="seconds").removesuffix("+00:00")

    def find_condition_name(self, joint_field: JointField, name: str) -> str | None:
        """Return the parameter of the table for a condition; None if the table does not have the field."""
        columns = find_field_columns(joint_field, self._key, self._table)
        if name in columns:
            return columns[name].name
        if name == joint_field.name and len(columns) == 2:
            return joint_field.find_column_name(self._key)
        return None

    def find_other_unit(self, joint_field: JointField, form_table: Table) -> str:
        """Return the unit of a field in the form, if that of the table differs; otherwise an empty text."""
        form_columns = {column.name: column for column in form_table.columns}
        for name, column in find_field_columns(joint_field, self._key, self._table).items():
            form_column = form_columns.get(name)
            if form_column is not None and form_column.type.is_numeric and form_column.unit != column.unit:
                return form_column.unit or ""
        return ""

    def build_choice_test(self, joint_field: JointField, values: Sequence[str]) -> syntax_tree.Expr | None:
        """Return the condition that one of several choices applies; None if the table lacks their columns."""
        tests: list[syntax_tree.Expr] = []
        for value in values:
            choice = _find_choice(joint_field, value)
            if choice is not None:
                test = self._build_choice_condition(joint_field, choice)
            elif value == NO_VALUE:
                test = syntax_tree.NullPredicate(self._build_choice_item(joint_field))
            else:
                continue
            if test is not None:
                tests.append(test)
        if len(tests) > 1:
            return syntax_tree.Disjunction(tuple(tests))
        if tests:
            return tests[0]
        return None

    def build_item(self, column: Column, fields: Mapping[str, JointField]) -> syntax_tree.Expr:
        """Return what the list selects for a column of the form; null if the table does not have it."""
        joint_field = fields.get(column.name) or fields[column.name.rpartition("_")[0]]
        if joint_field.choices:
            return self._build_choice_item(joint_field)
        own_column = find_field_columns(joint_field, self._key, self._table).get(column.name)
        if own_column is None:
            return _build_null(column)
        column_ref = build_column_ref(own_column.name)
        if column.type.is_string:
            return column_ref if own_column.type.is_string else syntax_tree.CastExpression(column_ref, "VARCHAR")
        if column.type.is_numeric and own_column.type.is_numeric:
            return _convert_unit(column_ref, own_column.unit or "", column.unit or "") or _build_null(column)
        return column_ref if own_column.type == column.type else _build_null(column)

    def build_key_item(self) -> syntax_tree.Expr:
        """Return the key of a row as a text; null unless it is one column of text or whole numbers."""
        columns = [self._table.find_column(name) for name in self._table.primary]
        if len(columns) == 1 and columns[0].type.is_string:
            return build_column_ref(columns[0].name)
        if len(columns) == 1 and columns[0].type.is_integer:
            return syntax_tree.CastExpression(build_column_ref(columns[0].name), "VARCHAR")
        return syntax_tree.CastExpression(syntax_tree.Literal(None), "VARCHAR")

    def _build_choice_item(self, joint_field: JointField) -> syntax_tree.Expr:
        """Return the name of the first choice that applies to a row; null if none applies."""
        whens = []
        for choice in joint_field.choices:
            test = self._build_choice_condition(joint_field, choice)
            if test is not None:
                whens.append((test, syntax_tree.Literal(choice.name)))
        if not whens:
            return syntax_tree.CastExpression(syntax_tree.Literal(None), "VARCHAR")
        return syntax_tree.CaseExpression(None, tuple(whens), None)

    def _build_choice_condition(self, joint_field: JointField, choice: JointChoice) -> syntax_tree.Expr | None:
        """Return the condition that a choice applies; alternatives whose columns the table lacks never hold."""
        tests = []
        for alternative in choice.alternatives:
            pairs = []
            for name, text in alternative:
                column_name = name
                if name == OWN_COLUMN:
                    column_name = joint_field.find_column_name(self._key)
                pairs.append((quote_parameter_name(column_name), self._replace_now(text)))
            search = parse_search(pairs, self._table)
            test = search.build_condition()
            if test is not None and not search.faults:
                tests.append(test)
        if len(tests) > 1:
            return syntax_tree.Disjunction(tuple(tests))
        if tests:
            return tests[0]
        return None

    def _replace_now(self, text: str) -> str:
        """Replace the word `now` by the current time."""
        return " ".join(self._moment if word == NOW_WORD else word for word in text.split(" "))


def _convert_unit(column_ref: syntax_tree.Expr, unit: str, wanted_unit: str) -> syntax_tree.Expr | None:
    """Convert a column to another unit; None if the units differ and cannot be converted by a factor."""
    if unit == wanted_unit:
        return column_ref
    try:
        factor = units.compute_unit_factor(unit, wanted_unit)
    except ValueError:
        return None
    return syntax_tree.BinaryOperation("*", column_ref, syntax_tree.Literal(float(factor)))


def _build_null(column: Column) -> syntax_tree.Expr:
    if column.type.is_timestamp:
        target = "TIMESTAMP"
    elif column.type.is_boolean:
        target = "BOOLEAN"
    elif column.type.is_numeric:
        target = "BIGINT" if column.type.is_integer else "DOUBLE"
    else:
        target = "VARCHAR"
    return syntax_tree.CastExpression(syntax_tree.Literal(None), target)
