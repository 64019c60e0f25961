"""Rows to which an entry refers by the foreign keys of its table: check that they exist, and offer them in forms."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from hven.adql import syntax_tree
from hven.engines import Snapshot
from hven.model.errors import HvenError, TimeLimitError, format_message
from hven.portal.api.column_values import build_column_ref
from hven.portal.api.page_rows import build_query_runner
from hven.portal.api.table_rows import TableSearch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from hven.model.table import ForeignKey, Table
    from hven.portal.api.pages import PageContext
    from hven.portal.api.table_rows import QueryRunner

MAX_KEY_DIGITS = 18  # of a number in a field
MAX_OFFERED_KEYS = 200  # of a field
MAX_CHECKED_KEYS = 500  # in one query
MAX_SEARCHED_CHARACTERS = 200
LIST_TIMEOUT_SECONDS = 10.0  # for the keys of one table
MAX_SEARCHED_TEXTS = 5  # of a column
LABEL_UCDS = ("meta.title", "meta.id")


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedKeys:
    """Keys of another table that a field of a form offers.

    Attributes
    ----------
    table
        Title of the other table.
    keys
        Texts of the keys, and labels of their rows; an empty label: the table has none.
    is_complete
        Whether these are all the keys that the user sees.
    """

    table: str
    keys: tuple[tuple[str, str], ...]
    is_complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RowReferences:
    """The foreign keys of a table, for one user.

    Attributes
    ----------
    targets
        Foreign keys, and the tables that they refer to, as the user sees these tables. Keys to other tables are not
        checked.
    runner
        Runs queries with the rights of the user: rows that the user can't see count as missing.
    """

    targets: tuple[tuple[ForeignKey, Table], ...]
    runner: QueryRunner

    def find_unknown_rows(self, rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], list[int]]:
        """Find the values that refer to no row.

        Parameters
        ----------
        rows
            Column -> value of each row. A key with a null value refers to nothing.

        Returns
        -------
        faults
            Column and message -> the numbers of the rows, from 0.
        """
        faults: dict[tuple[str, str], list[int]] = {}
        for key, target in self.targets:
            numbers_by_key: dict[tuple[Any, ...], list[int]] = {}
            for number, row in enumerate(rows):
                key_values = tuple(row.get(name) for name in key.columns)
                if None not in key_values:
                    numbers_by_key.setdefault(key_values, []).append(number)
            wanted_keys = list(numbers_by_key)
            for start in range(0, len(wanted_keys), MAX_CHECKED_KEYS):
                chunk = wanted_keys[start : start + MAX_CHECKED_KEYS]
                existing_keys = self._list_existing_keys(key, target, chunk)
                for key_values in chunk:
                    if key_values in existing_keys:
                        continue
                    for name, value in zip(key.columns, key_values, strict=True):
                        message = format_message("the table {table} has no row {value!r:.80}", key.target, value)
                        faults.setdefault((name, message), []).extend(numbers_by_key[key_values])
        return faults

    def list_offered_keys(self, entered_texts: Mapping[str, Sequence[str]]) -> dict[str, OfferedKeys]:
        """List keys for each field that refers to another table by one column.

        Parameters
        ----------
        entered_texts
            Column -> texts that the user has entered. If there are too many keys for a list, the keys and labels that
            contain one of these texts come first, and numbers from this number on.
        """
        offered_keys = {}
        for key, target in self.targets:
            if len(key.columns) == 1:
                texts = [text.strip()[:MAX_SEARCHED_CHARACTERS] for text in entered_texts.get(key.columns[0], ())]
                searched_texts = list(dict.fromkeys(filter(None, texts)))[:MAX_SEARCHED_TEXTS]
                with suppress(HvenError):  # the form works without the list
                    offered_keys[key.columns[0]] = self._list_keys(target, key.target_columns[0], searched_texts)
        return offered_keys

    def _list_keys(self, target: Table, column_name: str, texts: Sequence[str]) -> OfferedKeys:
        """List keys by one query: those of rows that contain a text, and the first ones."""
        label_name = _find_label_column(target, column_name)
        conditions: list[syntax_tree.Expr | None] = []
        for text in texts:
            conditions += _build_key_search_conditions(target, column_name, label_name, text)
        conditions.append(None)
        statement = _build_union_of_key_queries(target, (column_name, label_name), conditions)
        rows = self._fetch_rows(statement, target, len(conditions) * (MAX_OFFERED_KEYS + 1))
        found_keys: list[list[tuple[str, str]]] = [[] for _ in conditions]
        for number, key, label in zip(*rows.to_pydict().values(), strict=True):
            found_keys[number].append((str(key), "" if label is None else str(label)))
        keys = found_keys[-1]
        is_complete = len(keys) <= MAX_OFFERED_KEYS
        if not is_complete:
            keys = list(dict.fromkeys(chain.from_iterable(found_keys)))
        return OfferedKeys(
            table=str(target.title or target.qualified_name),
            keys=tuple(keys[:MAX_OFFERED_KEYS]),
            is_complete=is_complete,
        )

    def _fetch_rows(self, statement: syntax_tree.Query, target: Table, row_limit: int) -> pa.Table:
        """Fetch rows of another table; if it is stored, once for each of its versions."""
        if isinstance(self.runner.published_state.tables_by_name[target.qualified_name].relation, Snapshot):
            rows = self.runner.fetch_cached_until_change(
                statement, target, row_limit=row_limit, timeout_seconds=LIST_TIMEOUT_SECONDS
            )
            if rows is None:
                raise TimeLimitError(f"listing the keys of {target.qualified_name} takes too long")
            return rows
        return self.runner.fetch_table(statement, row_limit=row_limit, timeout_seconds=LIST_TIMEOUT_SECONDS)

    def _list_existing_keys(
        self, key: ForeignKey, target: Table, wanted_keys: Sequence[tuple[Any, ...]]
    ) -> set[tuple[Any, ...]]:
        """List those of some keys that the other table has."""
        columns = [build_column_ref(name) for name in key.target_columns]
        conditions = [
            syntax_tree.InPredicate(column, tuple(map(syntax_tree.Literal, dict.fromkeys(values))))
            for column, values in zip(columns, zip(*wanted_keys, strict=True), strict=True)
        ]
        select = syntax_tree.Select(
            tuple(
                syntax_tree.SelectItem(column, syntax_tree.Ident(f"key_{number}"))
                for number, column in enumerate(columns)
            ),
            TableSearch(table=target).build_from_item(),
            where=syntax_tree.join_conditions_with_and(*conditions),
            distinct=True,
        )
        rows = self.runner.fetch_table(syntax_tree.Query(select))
        return set(zip(*rows.to_pydict().values(), strict=True))


def find_row_references(table: Table, page_context: PageContext) -> RowReferences:
    """Find the foreign keys of a table that can be checked for the user of a page.

    Keys of text and whole numbers are checked, if they refer to another table that the user sees.

    Parameters
    ----------
    table
        The table as the user sees it.
    page_context
        The request of the page.
    """
    visible_tables = {visible.qualified_name: visible for visible in page_context.catalogue.iterate_tables()}
    targets = []
    for key in table.keys:
        target = visible_tables.get(key.target)
        if target is not None and key.target != table.qualified_name and _is_checkable(key, table, target):
            targets.append((key, target))
    return RowReferences(targets=tuple(targets), runner=build_query_runner(page_context))


def _find_label_column(table: Table, key_name: str) -> str:
    """Find the column that describes a row in words, beside its key; empty: there is none."""
    for ucd in LABEL_UCDS:
        for column in table.columns:
            is_label = column.type.is_string and (column.ucd or "").lower().startswith(ucd)
            if is_label and column.name != key_name and not column.hidden:
                return column.name
    return ""


def _build_union_of_key_queries(
    target: Table, names: tuple[str, str], conditions: Sequence[syntax_tree.Expr | None]
) -> syntax_tree.Query:
    """Build the query for the first keys that meet each condition, with their labels, in the order of the keys.

    Parameters
    ----------
    target
        The table.
    names
        Its columns with keys and labels; an empty name: it has no labels.
    conditions
        Conditions; None: all rows. The first column of the answer has the number of the condition. For each condition,
        the answer has at most one key more than a field offers.
    """
    key_column = build_column_ref(names[0])
    label_column: syntax_tree.Expr = syntax_tree.Literal("")
    if names[1]:
        label_column = build_column_ref(names[1])
    is_key = syntax_tree.NullPredicate(key_column, negated=True)
    parts = []
    for number, condition in enumerate(conditions):
        select = syntax_tree.Select(
            (
                syntax_tree.SelectItem(syntax_tree.Literal(number), syntax_tree.Ident("condition_number")),
                syntax_tree.SelectItem(key_column, syntax_tree.Ident("key_value")),
                syntax_tree.SelectItem(label_column, syntax_tree.Ident("label")),
            ),
            TableSearch(table=target).build_from_item(),
            where=is_key if condition is None else syntax_tree.join_conditions_with_and(is_key, condition),
            distinct=True,
            top=syntax_tree.Literal(MAX_OFFERED_KEYS + 1),
        )
        parts.append(syntax_tree.Query(select, order_by=(syntax_tree.OrderItem(syntax_tree.Literal(2)),)))
    if len(parts) == 1:
        return parts[0]
    union: syntax_tree.Query | syntax_tree.SetOperation = parts[0]
    for part in parts[1:]:
        union = syntax_tree.SetOperation("UNION", union, part, all=True)
    order = tuple(syntax_tree.OrderItem(syntax_tree.Literal(number)) for number in (1, 2))
    return syntax_tree.Query(union, order_by=order)


def _build_key_search_conditions(
    target: Table, column_name: str, label_name: str, text: str
) -> Iterator[syntax_tree.Expr]:
    """Build the conditions of rows whose key or label contains a text; of numbers, those from this number on."""
    if not target.find_column(column_name).type.is_integer:
        yield _build_contains_condition(column_name, text)
    elif text.isdecimal() and len(text) <= MAX_KEY_DIGITS:
        yield syntax_tree.Comparison(">=", build_column_ref(column_name), syntax_tree.Literal(int(text)))
    if label_name:
        yield _build_contains_condition(label_name, text)


def _build_contains_condition(column_name: str, text: str) -> syntax_tree.Expr:
    """Build the condition that a text contains another one, in any case."""
    return syntax_tree.build_text_condition(build_column_ref(column_name), ("", text, ""))


def _is_checkable(key: ForeignKey, table: Table, target: Table) -> bool:
    """Return whether both sides of a foreign key are text, or both are whole numbers."""
    for name, target_name in zip(key.columns, key.target_columns, strict=True):
        types = [side.find_column(column).type for side, column in ((table, name), (target, target_name))]
        if not all(each.is_string for each in types) and not all(each.is_integer for each in types):
            return False
    return True
