"""``lookup``: a value found by a key, in a table written in the descriptor or in a file beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.syntax_tree import (
    Case,
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
from hven.descriptor._name_resolution import list_column_names, parse_heading_unit
from hven.descriptor._source_options import read_source_spec
from hven.descriptor.written_yaml import DECIMAL_PATTERN, INTEGER_PATTERN, WrittenMap, WrittenScalar
from hven.model import plugins, units
from hven.model.errors import HvenError, suggest_spelling
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT64, STRING, Type
from hven.sources import SourceContext

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hven.adql.syntax_tree import ValueMetadata
    from hven.descriptor._name_resolution import ExpressionNames
    from hven.descriptor.value_schema import FaultCollector
    from hven.model.errors import Place
    from hven.model.resource import ColumnMapping

MAX_CASE_KEYS = 64  # up to so many keys become a CASE, more a join
MAX_LOOKUP_ROWS = 2_000_000
KEY_SEPARATOR = "\x1f"  # stands between several keys that are one text
LookupRows = tuple[list[Any], list[Any], Column]  # keys, values, what the values are


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupRelation:
    """A lookup that is in use: as a relation of its own (`relation_rows`), or, if small, spelt out in the query."""

    name: str
    column: str
    label: str
    key: Expr
    key_type: Type
    value: Column
    keys: tuple[Any, ...]
    values: tuple[Any, ...]
    missing_action: str
    origins: frozenset[str]
    place: Place
    relation_rows: pa.Table | None = None
    range_ends: tuple[Any, ...] | None = None  # of ranges that begin at the keys; None as an end: for ever

    def describe_relation(self) -> Table:
        """Describe the relation that is joined."""
        ends = () if self.range_ends is None else (Column(name=f"{self.name}.end", type=self.key_type),)
        key = Column(name=f"{self.name}.key", type=self.key_type)
        return Table(schema="", name=self.name, columns=(key, *ends, self.value.copy_with(name=f"{self.name}.value")))

    def build_join_condition(self) -> Expr:
        """Build the join's condition."""
        begin = expression_trees.build_column_ref(f"{self.name}.key")
        if self.range_ends is None:
            return Comparison("=", self.key, begin)
        end = expression_trees.build_column_ref(f"{self.name}.end")
        return Conjunction(
            (Comparison(">=", self.key, begin), Disjunction((NullPredicate(end), Comparison("<", self.key, end))))
        )

    def build_entry_condition(self, entry_number: int) -> Expr:
        """Build the condition of the entry at a place."""
        begin = Literal(self.keys[entry_number])
        if self.range_ends is None:
            return Comparison("=", self.key, begin)
        above = Comparison(">=", self.key, begin)
        end = self.range_ends[entry_number]
        if end is None:
            return above
        return Conjunction((above, Comparison("<", self.key, Literal(end))))

    def build_unmatched_condition(self) -> Expr:
        """Build the condition of rows that have a key, but none that is known."""
        has_key = NullPredicate(self.key, negated=True)
        if self.relation_rows is not None:
            column_ref = expression_trees.build_column_ref(f"{self.name}.key")
            return Conjunction((has_key, NullPredicate(column_ref)))
        if self.range_ends is not None and self.keys:
            key_conditions = tuple(self.build_entry_condition(place) for place in range(len(self.keys)))
            return Conjunction(
                (has_key, Negation(key_conditions[0] if len(key_conditions) == 1 else Disjunction(key_conditions)))
            )
        if self.keys:
            return Conjunction((has_key, Negation(InPredicate(self.key, tuple(Literal(key) for key in self.keys)))))
        return has_key


class LookupSet:
    """All lookups of one table."""

    def __init__(self, expression_names: ExpressionNames, directory: Path) -> None:
        self.expression_names = expression_names
        self.directory = directory
        self._lookups: list[LookupRelation] = []

    def __iter__(self) -> Iterator[LookupRelation]:
        return iter(self._lookups)

    @property
    def relation_rows(self) -> dict[str, pa.Table]:
        """The rows of those that are joined, by name."""
        return {lookup.name: lookup.relation_rows for lookup in self._lookups if lookup.relation_rows is not None}

    def is_lookup_column(self, column: str) -> bool:
        """Check whether a column is one of a lookup's relation."""
        return any(
            column in {f"{lookup.name}.key", f"{lookup.name}.end", f"{lookup.name}.value"} for lookup in self._lookups
        )

    def find_joined_lookups(self, trees: list[Expr]) -> list[LookupRelation]:
        """Find the lookups whose relations these trees read."""
        column_names = {name for tree in trees for name in list_column_names(tree)}
        return [
            lookup
            for lookup in self._lookups
            if lookup.relation_rows is not None and {f"{lookup.name}.key", f"{lookup.name}.value"} & column_names
        ]

    def build_lookup_expression(
        self,
        setting: ColumnMapping,
        key: Expr,
        meta: ValueMetadata,
        origins: frozenset[str],
        target_column: Column | None,
        key_path: str,
    ) -> Expr | None:
        """Build the tree of a looked-up value; None after a fault.

        Parameters
        ----------
        key, meta, origins
            What is looked up, and its source columns.
        target_column
            The target column, if the descriptor says its type.
        """
        fields = setting.value
        missing = fields.get("missing", "null" if "default" in fields else "error")
        lookup = next(
            (
                existing_lookup
                for existing_lookup in self._lookups
                if existing_lookup.column == setting.column
                and existing_lookup.key == key
                and existing_lookup.place == setting.place
            ),
            None,
        )
        if lookup is None:
            lookup_table: LookupRows | None = None
            if "values" in fields:
                lookup_table = self._read_written_values(fields["values"], meta, target_column, key_path)
            elif "table" in fields:
                lookup_table = self._read_table_values(fields, meta, target_column, key_path)
            if lookup_table is None:
                return None
            keys, values, value = lookup_table
            ends = None
            if "low" in fields:
                range_starts = [begin for begin, _ in keys]
                ends = tuple(end for _, end in keys)
                keys = range_starts
            name = f"lookup_{len(self._lookups) + 1}"
            rows = None
            if len(keys) > MAX_CASE_KEYS or (ends is not None and meta.type.is_timestamp):
                columns = {
                    f"{name}.key": pa.array(keys, meta.type.arrow),
                    f"{name}.value": pa.array(values, value.type.arrow),
                }
                if ends is not None:
                    columns[f"{name}.end"] = pa.array(ends, meta.type.arrow)
                rows = pa.table(columns)
            if isinstance(fields.get("table"), str):
                label = str(fields["table"])
            else:
                label = "the lookup"
            lookup = LookupRelation(
                name=name,
                column=setting.column,
                label=label,
                key=key,
                key_type=meta.type,
                value=value,
                keys=tuple(keys),
                values=tuple(values),
                missing_action=missing,
                origins=origins,
                place=setting.place,
                relation_rows=rows,
                range_ends=ends,
            )
            self._lookups.append(lookup)
            if rows is not None:
                self.expression_names.columns.extend(lookup.describe_relation().columns)
        if missing == "keep":
            default_expression = _convert_key_to_value(key, meta, lookup.value.type)
        else:
            default_expression = expression_trees.NULL_LITERAL
        if "default" in fields:
            default = _build_default_literal(
                fields["default"], lookup.value.type, key_path, self.expression_names.faults
            )
            if default is None:
                return None
            default_expression = default
        if lookup.relation_rows is not None:
            value_tree: Expr = expression_trees.build_column_ref(f"{lookup.name}.value")
            if default_expression is expression_trees.NULL_LITERAL:
                return value_tree
            column_ref = expression_trees.build_column_ref(f"{lookup.name}.key")
            return Case(
                None,
                ((NullPredicate(column_ref), default_expression),),
                value_tree,
            )
        whens = tuple(
            (lookup.build_entry_condition(place), Literal(other)) for place, other in enumerate(lookup.values)
        )
        if whens:
            return Case(None, whens, default_expression)
        return default_expression

    def _read_written_values(
        self, entries: dict[WrittenScalar, WrittenScalar], meta: ValueMetadata, column: Column | None, key_path: str
    ) -> LookupRows | None:
        return _read_written_lookup(entries, meta, column, key_path, self.expression_names.faults)

    def _read_table_values(
        self, fields: Any, meta: ValueMetadata, target_column: Column | None, key_path: str
    ) -> LookupRows | None:
        lookup_table = _read_lookup_table(fields, meta, key_path, self.directory, self.expression_names.faults)
        if lookup_table is None:
            return None
        return _convert_lookup_unit(lookup_table, target_column, key_path, fields.place, self.expression_names.faults)


def _convert_lookup_unit(
    lookup_table: LookupRows, target: Column | None, key_path: str, place: Place, faults: FaultCollector
) -> LookupRows | None:
    """Convert the values of a lookup to the unit of the column."""
    keys, values, value = lookup_table
    source_unit = value.unit or parse_heading_unit(value.name)
    if (
        target is None
        or not target.unit
        or not source_unit
        or not value.type.is_numeric
        or units.is_same_unit(source_unit, target.unit)
    ):
        return lookup_table
    if not units.is_convertible(source_unit, target.unit):
        if value.unit is None:  # brackets in a header may be anything
            return lookup_table
        faults.add_error(
            f"{key_path}: values in {source_unit} cannot be converted to {target.unit}", place, "correct the unit"
        )
        return None
    factor = units.compute_factor(source_unit, target.unit)
    return (
        keys,
        [None if item is None else item * factor for item in values],
        Column(name=value.name, type=FLOAT64, unit=target.unit),
    )


def _build_default_literal(text: WrittenScalar, value_type: Type, key_path: str, faults: FaultCollector) -> Expr | None:
    if not value_type.is_numeric:
        return Literal(str(text))
    if not DECIMAL_PATTERN.fullmatch(text):
        faults.add_error(f"{key_path}.default: {str(text)!r} is no number", text.place)
        return None
    return Literal(int(text) if INTEGER_PATTERN.fullmatch(text) else float(text))


def join_key_expressions(parts: list[Expr]) -> Expr:
    """Join several keys to one text; what stands between them is in no key."""
    return expression_trees.concat_texts(
        [part for key_expression in parts for part in (key_expression, Literal(KEY_SEPARATOR))][:-1]
    )


def _convert_key_to_value(key: Expr, meta: ValueMetadata, value_type: Type) -> Expr:
    if value_type.is_string:
        return expression_trees.convert_to_text(key, meta)
    return expression_trees.cast_to_type(key, meta, value_type)


def _read_written_lookup(
    entries: dict[WrittenScalar, WrittenScalar],
    meta: ValueMetadata,
    column: Column | None,
    key_path: str,
    faults: FaultCollector,
) -> LookupRows | None:
    keys: list[Any] = []
    has_faults = False
    for key in entries:
        if not meta.type.is_numeric:
            keys.append(str(key))
        elif DECIMAL_PATTERN.fullmatch(key):
            keys.append(int(key) if INTEGER_PATTERN.fullmatch(key) else float(key))
        else:
            faults.add_error(
                f"{key_path}.values: the key {str(key)!r} is compared with a number",
                key.place,
                "write a number, or CAST(x AS VARCHAR) under 'from'",
            )
            has_faults = True
    if has_faults:
        return None
    texts = list(entries.values())
    if column is not None:
        value_type = column.type
    elif all(INTEGER_PATTERN.fullmatch(text) for text in texts):
        value_type = INT64
    elif all(DECIMAL_PATTERN.fullmatch(text) for text in texts):
        value_type = FLOAT64
    else:
        value_type = STRING
    if not value_type.is_numeric:
        return keys, [None if text.is_null else str(text) for text in texts], Column(name="value", type=STRING)
    values: list[Any] = []
    for text in texts:
        if text.is_null:
            values.append(None)
        elif DECIMAL_PATTERN.fullmatch(text):
            values.append(int(text) if INTEGER_PATTERN.fullmatch(text) else float(text))
        else:
            faults.add_error(f"{key_path}.values: {str(text)!r} is no number", text.place)
            has_faults = True
    all_integers = all(isinstance(value, int) for value in values)
    if has_faults:
        return None
    return (keys, values, Column(name="value", type=INT64 if all_integers else FLOAT64))


def _read_lookup_table(
    fields: Any, meta: ValueMetadata, key_path: str, directory: Path, faults: FaultCollector
) -> LookupRows | None:
    table_value: WrittenScalar | WrittenMap = fields["table"]
    spec = read_source_spec(table_value, f"{key_path}.table", faults)
    if spec is None:
        return None
    if spec.enrich is not None:
        faults.add_error(
            f"{key_path}.table.enrich: a lookup has no documents",
            table_value.place,
            "enrich: is for the sources of tables",
        )
        return None
    try:
        module = plugins.load_plugin("sources", spec.kind)
        source = module.open(module.Options.model_validate(dict(spec.options)), SourceContext(directory=directory))
        columns = {column.name: column for column in source.list_columns()}
        names = list(columns)
        chosen_columns = []
        column_roles = [(role, fields[role]) for role in ("low", "high") if role in fields] or [
            ("key", word) for word in fields.get("key", (None,))
        ]
        for position, (role, word) in enumerate([*column_roles, ("value", fields.get("value"))]):
            if word is None and len(names) <= position:
                faults.add_error(
                    f"{key_path}.table has only {len(names)} columns",
                    table_value.place,
                    "a lookup needs a key and a value",
                )
                return None
            if word is not None and word not in columns:
                faults.add_error(
                    f"{key_path}.{role}: the table has no column {str(word)!r}",
                    word.place,
                    suggest_spelling(word, names) or f"known: {', '.join(names[:12])}",
                )
                return None
            chosen_columns.append(str(word) if word is not None else names[position])
        rows = pa.Table.from_batches(list(source.read_batches(list(dict.fromkeys(chosen_columns)))))
    except HvenError as error:
        faults.add_error(f"{key_path}.table: {error.message}", table_value.place, error.remedy)
        return None
    if rows.num_rows > MAX_LOOKUP_ROWS:
        faults.add_error(
            f"{key_path}.table has {rows.num_rows:,} rows; a lookup may have {MAX_LOOKUP_ROWS:,}",
            table_value.place,
            "join it in a 'query' source",
        )
        return None
    value = chosen_columns.pop()
    for name in chosen_columns[:1] if "low" in fields else chosen_columns:
        rows = rows.filter(pc.is_valid(rows.column(name)))
    try:
        if "low" in fields:
            return _read_lookup_ranges(rows, chosen_columns, columns[value], meta, key_path, table_value.place, faults)
        if len(chosen_columns) > 1:
            keys = pc.binary_join_element_wise(
                *(rows.column(name).cast(pa.string()) for name in chosen_columns), KEY_SEPARATOR
            )
        else:
            keys = rows.column(chosen_columns[0]).cast(meta.type.arrow)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        key_type = columns[chosen_columns[0]].type
        faults.add_error(
            f"{key_path}: the key {chosen_columns[0]} is {key_type}, what is looked up {meta.type}",
            table_value.place,
            "bring both to one type: CAST(x AS VARCHAR) under 'from'",
        )
        return None
    counts = pc.value_counts(keys)
    if len(counts) < len(keys):
        repeated_keys = [item["values"].as_py() for item in counts if item["counts"].as_py() > 1][:3]
    else:
        repeated_keys = []
    if repeated_keys:
        faults.add_error(
            f"{key_path}.table: the key {repeated_keys[0]!r} stands there more than once",
            table_value.place,
            "each key once",
        )
        return None
    return keys.to_pylist(), rows.column(value).to_pylist(), columns[value]


def _read_lookup_ranges(
    rows: pa.Table,
    chosen_columns: list[str],
    value: Column,
    meta: ValueMetadata,
    key_path: str,
    place: Place,
    faults: FaultCollector,
) -> LookupRows | None:
    """Read ranges: those that begin at one column and end before another one, or before the next.

    They must not overlap.
    """
    if meta.type.is_timestamp:
        bound_type = pa.timestamp("us")
    else:
        bound_type = meta.type.arrow
    low = rows.column(chosen_columns[0]).cast(bound_type)
    order = pc.sort_indices(low)
    range_starts = low.take(order).to_pylist()
    if len(chosen_columns) > 1:
        range_ends = rows.column(chosen_columns[1]).cast(bound_type).take(order).to_pylist()
    else:
        range_ends = [*range_starts[1:], None]
    for range_number, (begin, end) in enumerate(zip(range_starts, range_ends, strict=True)):
        if end is not None and end < begin:
            faults.add_error(f"{key_path}.table: the range from {begin} ends at {end}, before it begins", place)
            return None
        if range_number + 1 < len(range_starts) and (end is None or range_starts[range_number + 1] < end):
            faults.add_error(
                f"{key_path}.table: the ranges from {begin} and from {range_starts[range_number + 1]} overlap",
                place,
                "each value in one range at most",
            )
            return None
    return list(zip(range_starts, range_ends, strict=True)), rows.column(value.name).take(order).to_pylist(), value
