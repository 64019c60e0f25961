"""Look up values by keys, in a table that the descriptor has or in a file beside it (``lookup``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.syntax_tree import (
    CaseExpression,
    Comparison,
    Conjunction,
    Disjunction,
    Expr,
    InPredicate,
    Literal,
    Negation,
    NullPredicate,
)
from hven.descriptor import _expression_trees as expression_trees
from hven.descriptor._name_resolution import list_column_names, parse_column_header_unit
from hven.descriptor._source_options import read_source_spec
from hven.descriptor.written_yaml import DECIMAL_PATTERN, INTEGER_PATTERN, LocatedYamlMap, LocatedYamlScalar
from hven.model import plugins, units
from hven.model.errors import HvenError, suggest_spelling
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT64, STRING, ColumnType
from hven.sources import SourceContext
from hven.sources.source_keys import load_source_descriptor_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from hven.adql.syntax_tree import ValueMetadata
    from hven.descriptor._name_resolution import ExpressionNameResolver
    from hven.descriptor.value_schema import FaultCollector
    from hven.model.errors import TextPlace
    from hven.model.resource import ColumnMapping

MAX_CASE_KEYS = 64  # lookups with more keys become a join, others a CASE
MAX_LOOKUP_ROWS = 2_000_000
MAX_LISTED_COLUMNS = 12  # columns of a table that a remedy names
KEY_SEPARATOR = "\x1f"  # stands between several keys that are joined to one text
LookupRows = tuple[list[Any], list[Any], Column]  # keys, values, column of the values


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupRelation:
    """A lookup in use: a relation of its own (`relation_rows`), or, if small, conditions in the query."""

    name: str
    column: str
    label: str
    key: Expr
    key_type: ColumnType
    value: Column
    keys: tuple[Any, ...]
    values: tuple[Any, ...]
    missing_action: str
    origins: frozenset[str]
    place: TextPlace
    relation_rows: pa.Table | None = None
    range_ends: tuple[Any, ...] | None = None  # ends of ranges that begin at the keys; an end of None is open

    def build_relation_table(self) -> Table:
        """Describe the relation that is joined."""
        columns = [Column(name=f"{self.name}.key", type=self.key_type)]
        if self.range_ends is not None:
            columns.append(Column(name=f"{self.name}.end", type=self.key_type))
        columns.append(self.value.copy_with(name=f"{self.name}.value"))
        return Table(schema="", name=self.name, columns=tuple(columns))

    def build_join_condition(self) -> Expr:
        """Build the condition of the join."""
        begin = expression_trees.build_column_ref(f"{self.name}.key")
        if self.range_ends is None:
            return Comparison("=", self.key, begin)
        end = expression_trees.build_column_ref(f"{self.name}.end")
        is_before_end = Disjunction((NullPredicate(end), Comparison("<", self.key, end)))
        return Conjunction((Comparison(">=", self.key, begin), is_before_end))

    def build_entry_condition(self, entry_number: int) -> Expr:
        """Build the condition by which a row has the entry of a number."""
        begin = Literal(self.keys[entry_number])
        if self.range_ends is None:
            return Comparison("=", self.key, begin)
        is_after_begin = Comparison(">=", self.key, begin)
        end = self.range_ends[entry_number]
        if end is None:
            return is_after_begin
        return Conjunction((is_after_begin, Comparison("<", self.key, Literal(end))))

    def build_unmatched_condition(self) -> Expr:
        """Build the condition of rows with a key that the lookup does not have."""
        has_key = NullPredicate(self.key, negated=True)
        if self.relation_rows is not None:
            column_ref = expression_trees.build_column_ref(f"{self.name}.key")
            return Conjunction((has_key, NullPredicate(column_ref)))
        if not self.keys:
            return has_key
        has_entry: Expr
        if self.range_ends is None:
            has_entry = InPredicate(self.key, tuple(map(Literal, self.keys)))
        else:
            entry_conditions = tuple(self.build_entry_condition(number) for number in range(len(self.keys)))
            has_entry = entry_conditions[0]
            if len(entry_conditions) > 1:
                has_entry = Disjunction(entry_conditions)
        return Conjunction((has_key, Negation(has_entry)))


class LookupSet:
    """All lookups of one table."""

    def __init__(self, expression_names: ExpressionNameResolver, directory: Path) -> None:
        self.expression_names = expression_names
        self.directory = directory
        self._lookups: list[LookupRelation] = []

    def __iter__(self) -> Iterator[LookupRelation]:
        return iter(self._lookups)

    @property
    def relation_rows(self) -> dict[str, pa.Table]:
        """Rows of the relations that are joined, by name."""
        return {lookup.name: lookup.relation_rows for lookup in self._lookups if lookup.relation_rows is not None}

    def is_lookup_relation_column(self, column: str) -> bool:
        """Return whether a column is one of a lookup's relation."""
        lookup_name, _, part = column.rpartition(".")
        return part in {"key", "end", "value"} and lookup_name in {lookup.name for lookup in self._lookups}

    def find_joined_lookups(self, trees: list[Expr]) -> list[LookupRelation]:
        """Find the lookups whose relations these trees read."""
        column_names: set[str] = set()
        for tree in trees:
            column_names |= list_column_names(tree)
        joined_lookups = []
        for lookup in self._lookups:
            relation_columns = {f"{lookup.name}.key", f"{lookup.name}.value"}
            if lookup.relation_rows is not None and relation_columns & column_names:
                joined_lookups.append(lookup)
        return joined_lookups

    def build_lookup_expression(
        self,
        setting: ColumnMapping,
        key: Expr,
        meta: ValueMetadata,
        origins: frozenset[str],
        *,
        target_column: Column | None,
        key_path: str,
    ) -> Expr | None:
        """Build the tree of a looked-up value; None after a fault.

        Parameters
        ----------
        key, meta, origins
            The expression that is looked up, its type and unit, and its source columns.
        target_column
            The target column, if the descriptor gives its type.
        """
        lookup = self._find_equal_lookup(setting, key)
        if lookup is None:
            lookup = self._add_lookup(setting, key, meta, origins, target_column=target_column, key_path=key_path)
        if lookup is None:
            return None
        default = self._build_default_expression(setting.value, lookup, meta, key_path)
        if default is None:
            return None
        if lookup.relation_rows is not None:
            value_ref = expression_trees.build_column_ref(f"{lookup.name}.value")
            if default is expression_trees.NULL_LITERAL:
                return value_ref
            is_unmatched = NullPredicate(expression_trees.build_column_ref(f"{lookup.name}.key"))
            return CaseExpression(None, ((is_unmatched, default),), value_ref)
        whens = [(lookup.build_entry_condition(number), Literal(value)) for number, value in enumerate(lookup.values)]
        if not whens:
            return default
        return CaseExpression(None, tuple(whens), default)

    def _find_equal_lookup(self, setting: ColumnMapping, key: Expr) -> LookupRelation | None:
        """Find the same lookup of an earlier granule."""
        for lookup in self._lookups:
            if lookup.column == setting.column and lookup.key == key and lookup.place == setting.place:
                return lookup
        return None

    def _add_lookup(
        self,
        setting: ColumnMapping,
        key: Expr,
        meta: ValueMetadata,
        origins: frozenset[str],
        *,
        target_column: Column | None,
        key_path: str,
    ) -> LookupRelation | None:
        """Read the entries of a lookup, and decide whether they become a relation; None after a fault."""
        fields = setting.value
        faults = self.expression_names.faults
        lookup_rows: LookupRows | None = None
        if "values" in fields:
            lookup_rows = _read_written_lookup(fields["values"], meta, target_column, key_path, faults)
        elif "table" in fields:
            lookup_rows = _LookupTableReader(fields, meta, key_path, faults).read_entries(self.directory)
            if lookup_rows is not None:
                lookup_rows = _convert_lookup_unit(lookup_rows, target_column, key_path, fields.place, faults)
        if lookup_rows is None:
            return None
        keys, values, value_column = lookup_rows
        range_ends = None
        if "low" in fields:
            range_ends = tuple(end for _, end in keys)
            keys = [begin for begin, _ in keys]
        name = f"lookup_{len(self._lookups) + 1}"
        relation_rows = None
        if len(keys) > MAX_CASE_KEYS or (range_ends is not None and meta.type.is_timestamp):
            columns = {
                f"{name}.key": pa.array(keys, meta.type.arrow),
                f"{name}.value": pa.array(values, value_column.type.arrow),
            }
            if range_ends is not None:
                columns[f"{name}.end"] = pa.array(range_ends, meta.type.arrow)
            relation_rows = pa.table(columns)
        label = "the lookup"
        if isinstance(fields.get("table"), str):
            label = str(fields["table"])
        lookup = LookupRelation(
            name=name,
            column=setting.column,
            label=label,
            key=key,
            key_type=meta.type,
            value=value_column,
            keys=tuple(keys),
            values=tuple(values),
            missing_action=_read_missing_key_action(fields),
            origins=origins,
            place=setting.place,
            relation_rows=relation_rows,
            range_ends=range_ends,
        )
        self._lookups.append(lookup)
        if relation_rows is not None:
            self.expression_names.columns.extend(lookup.build_relation_table().columns)
        return lookup

    def _build_default_expression(
        self, fields: Any, lookup: LookupRelation, meta: ValueMetadata, key_path: str
    ) -> Expr | None:
        """Build the value of rows without an entry; None after a fault."""
        if "default" in fields:
            faults = self.expression_names.faults
            return _build_default_literal(fields["default"], lookup.value.type, key_path, faults)
        if _read_missing_key_action(fields) == "keep":
            return _convert_key_to_value(lookup.key, meta, lookup.value.type)
        return expression_trees.NULL_LITERAL


def _read_missing_key_action(fields: Any) -> str:
    """Read what happens to rows whose key is missing: ``null``, ``keep`` or ``error``."""
    default_action = "null" if "default" in fields else "error"
    action: str = fields.get("missing", default_action)
    return action


def _convert_lookup_unit(
    lookup_rows: LookupRows, target: Column | None, key_path: str, place: TextPlace, faults: FaultCollector
) -> LookupRows | None:
    """Convert the values of a lookup to the unit of the column."""
    keys, values, value_column = lookup_rows
    source_unit = value_column.unit or parse_column_header_unit(value_column.name)
    if target is None or not target.unit or not source_unit or not value_column.type.is_numeric:
        return lookup_rows
    if units.is_same_unit(source_unit, target.unit):
        return lookup_rows
    if not units.are_units_convertible(source_unit, target.unit):
        if value_column.unit is None:  # brackets in a header may be anything
            return lookup_rows
        message = f"{key_path}: values in {source_unit} cannot be converted to {target.unit}"
        faults.add_error(message, place, "correct the unit")
        return None
    factor = units.compute_unit_factor(source_unit, target.unit)
    converted_values = [None if value is None else value * factor for value in values]
    return keys, converted_values, Column(name=value_column.name, type=FLOAT64, unit=target.unit)


def _build_default_literal(
    text: LocatedYamlScalar, value_type: ColumnType, key_path: str, faults: FaultCollector
) -> Expr | None:
    if not value_type.is_numeric:
        return Literal(str(text))
    if not DECIMAL_PATTERN.fullmatch(text):
        faults.add_error(f"{key_path}.default: {str(text)!r} is not a number", text.place)
        return None
    return Literal(_parse_number(text))


def _parse_number(text: str) -> int | float:
    """Parse a text that `DECIMAL_PATTERN` matches."""
    if INTEGER_PATTERN.fullmatch(text):
        return int(text)
    return float(text)


def join_key_expressions(parts: list[Expr]) -> Expr:
    """Join several keys to one text, with a separator that no key has."""
    joined_parts: list[Expr] = []
    for part in parts:
        joined_parts += [part, Literal(KEY_SEPARATOR)]
    return expression_trees.build_text_concatenation(joined_parts[:-1])


def _convert_key_to_value(key: Expr, meta: ValueMetadata, value_type: ColumnType) -> Expr:
    if value_type.is_string:
        return expression_trees.build_text_cast(key, meta)
    return expression_trees.cast_to_type(key, meta, value_type)


def _read_written_lookup(
    entries: dict[LocatedYamlScalar, LocatedYamlScalar],
    meta: ValueMetadata,
    column: Column | None,
    key_path: str,
    faults: FaultCollector,
) -> LookupRows | None:
    """Read the entries that stand in the descriptor: numbers or texts as the key and the column want them."""
    keys = _read_written_keys(entries, meta, key_path, faults)
    if keys is None:
        return None
    texts = list(entries.values())
    if column is not None:
        is_numeric = column.type.is_numeric
    else:
        is_numeric = all(DECIMAL_PATTERN.fullmatch(text) for text in texts)
    if not is_numeric:
        return keys, [None if text.is_null else str(text) for text in texts], Column(name="value", type=STRING)
    values: list[Any] = []
    for text in texts:
        if text.is_null:
            values.append(None)
        elif DECIMAL_PATTERN.fullmatch(text):
            values.append(_parse_number(text))
        else:
            faults.add_error(f"{key_path}.values: {str(text)!r} is not a number", text.place)
    if len(values) < len(texts):
        return None
    value_type = FLOAT64
    if all(isinstance(value, int) for value in values):
        value_type = INT64
    return keys, values, Column(name="value", type=value_type)


def _read_written_keys(
    entries: Iterable[LocatedYamlScalar], meta: ValueMetadata, key_path: str, faults: FaultCollector
) -> list[Any] | None:
    """Read the keys as numbers if they are compared with numbers; None after a fault."""
    keys: list[Any] = []
    has_faults = False
    for key in entries:
        if not meta.type.is_numeric:
            keys.append(str(key))
        elif DECIMAL_PATTERN.fullmatch(key):
            keys.append(_parse_number(key))
        else:
            faults.add_error(
                f"{key_path}.values: the key {str(key)!r} must be a number, because 'from' gives numbers",
                key.place,
                "write a number, or CAST(x AS VARCHAR) under 'from'",
            )
            has_faults = True
    if has_faults:
        return None
    return keys


class _LookupTableReader:
    """Reads the entries of a lookup from a file; after a fault, its methods return None."""

    def __init__(self, fields: Any, meta: ValueMetadata, key_path: str, faults: FaultCollector) -> None:
        self._fields = fields
        self._table_value: LocatedYamlScalar | LocatedYamlMap = fields["table"]
        self._meta = meta
        self._key_path = key_path
        self._faults = faults

    def read_entries(self, directory: Path) -> LookupRows | None:
        """Read keys and values; the keys of ranges are pairs of their limits."""
        table = self._read_table(directory)
        if table is None:
            return None
        rows, columns, names = table
        *key_names, value_name = names
        required_names = key_names
        if "low" in self._fields:  # a range without end is open
            required_names = key_names[:1]
        for name in required_names:
            rows = rows.filter(pc.is_valid(rows.column(name)))
        try:
            if "low" in self._fields:
                return self._read_ranges(rows, key_names, columns[value_name])
            keys = self._join_key_columns(rows, key_names)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            key_type = columns[key_names[0]].type
            message = f": the key {key_names[0]} is {key_type}, but the value to look up is {self._meta.type}"
            self._add_error(message, "convert both to the same type: write CAST(x AS VARCHAR) under 'from'")
            return None
        counts = pc.value_counts(keys)
        if len(counts) < len(keys):
            repeated_keys = [entry["values"].as_py() for entry in counts if entry["counts"].as_py() > 1]
            self._add_error(f".table: the key {repeated_keys[0]!r} occurs more than once", "write each key once")
            return None
        return keys.to_pylist(), rows.column(value_name).to_pylist(), columns[value_name]

    def _read_table(self, directory: Path) -> tuple[pa.Table, dict[str, Column], list[str]] | None:
        """Read the rows of the table; return them with its columns and the names of the chosen ones."""
        spec = read_source_spec(self._table_value, f"{self._key_path}.table", self._faults)
        if spec is None:
            return None
        for name in spec.additions:
            self._add_error(
                f".table.{name}: a lookup cannot have {load_source_descriptor_keys()[name].noun}",
                f"remove {name!r}, which is allowed only in the source of a table",
            )
            return None
        try:
            module = plugins.load_plugin("sources", spec.kind)
            source = module.open(module.Options.model_validate(dict(spec.options)), SourceContext(directory=directory))
            columns = {column.name: column for column in source.list_columns()}
            names = self._choose_key_and_value_columns(list(columns))
            if names is None:
                return None
            rows = pa.Table.from_batches(list(source.read_batches(list(dict.fromkeys(names)))))
        except HvenError as error:
            self._add_error(f".table: {error.message}", error.remedy)
            return None
        if rows.num_rows > MAX_LOOKUP_ROWS:
            message = f".table has {rows.num_rows:,} rows; a lookup may have at most {MAX_LOOKUP_ROWS:,}"
            self._add_error(message, "join the table in a 'query' source")
            return None
        return rows, columns, names

    def _add_error(self, message: str, remedy: str = "") -> None:
        self._faults.add_error(f"{self._key_path}{message}", self._table_value.place, remedy)

    def _choose_key_and_value_columns(self, names: list[str]) -> list[str] | None:
        """Return the names of the key columns, and of the value column as the last one."""
        fields = self._fields
        roles = [(role, fields[role]) for role in ("low", "high") if role in fields]
        if not roles:
            roles = [("key", name) for name in fields.get("key", (None,))]
        roles.append(("value", fields.get("value")))
        chosen_names = []
        for position, (role, name) in enumerate(roles):
            if name is None and len(names) <= position:
                self._add_error(
                    f".table has too few columns ({len(names)})", "add a column; a lookup needs a key and a value"
                )
                return None
            if name is None:
                chosen_names.append(names[position])
                continue
            if name not in names:
                hint = suggest_spelling(name, names) or f"use one of {', '.join(names[:MAX_LISTED_COLUMNS])}"
                message = f"{self._key_path}.{role}: the table has no column {str(name)!r}"
                self._faults.add_error(message, name.place, hint)
                return None
            chosen_names.append(str(name))
        return chosen_names

    def _join_key_columns(self, rows: pa.Table, key_names: list[str]) -> Any:
        if len(key_names) == 1:
            return rows.column(key_names[0]).cast(self._meta.type.arrow)
        key_texts = [rows.column(name).cast(pa.string()) for name in key_names]
        return pc.binary_join_element_wise(*key_texts, KEY_SEPARATOR)

    def _read_ranges(self, rows: pa.Table, key_names: list[str], value_column: Column) -> LookupRows | None:
        """Read ranges: each begins at one column and ends before another one, or before the next range begins.

        They must not overlap.
        """
        limit_type = self._meta.type.arrow
        if self._meta.type.is_timestamp:
            limit_type = pa.timestamp("us")
        begins = rows.column(key_names[0]).cast(limit_type)
        order = pc.sort_indices(begins)
        range_begins = begins.take(order).to_pylist()
        next_begins = [*range_begins[1:], None]
        range_ends = next_begins
        if len(key_names) > 1:
            range_ends = rows.column(key_names[1]).cast(limit_type).take(order).to_pylist()
        for begin, end, next_begin in zip(range_begins, range_ends, next_begins, strict=True):
            if end is not None and end < begin:
                self._add_error(f".table: the range from {begin} to {end} ends before it begins")
                return None
            if next_begin is not None and (end is None or next_begin < end):
                message = f".table: the ranges that begin at {begin} and {next_begin} overlap"
                self._add_error(message, "change the ranges so that each value is in at most one of them")
                return None
        ranges = list(zip(range_begins, range_ends, strict=True))
        values = rows.column(value_column.name).take(order).to_pylist()
        return ranges, values, value_column
