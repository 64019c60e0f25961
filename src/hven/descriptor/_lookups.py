"""``lookup``: a value found by a key, in a table written in the descriptor or in a file beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.tree import And, Case, Compare, Expr, In, IsNull, Literal, Not, Or
from hven.descriptor import _value_trees as trees
from hven.descriptor._expression_names import header_unit, origins_of
from hven.descriptor._options import source_spec
from hven.descriptor.written import DECIMAL, WHOLE, Entries, Written
from hven.model import plugins, units
from hven.model.errors import HvenError, nearest
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT64, STRING, Type
from hven.sources import Context

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hven.adql.tree import Meta
    from hven.descriptor._expression_names import Names
    from hven.descriptor.value_schema import Faults
    from hven.model.errors import Place
    from hven.model.resource import Setting

FEW = 64  # up to so many keys become a CASE, more a join
MOST = 2_000_000
BETWEEN = "\x1f"  # stands between several keys that are one text
Found = tuple[list[Any], list[Any], Column]  # keys, values, what the values are


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """A lookup that is in use: as a relation of its own (`rows`), or, if small, spelt out in the query."""

    name: str
    column: str
    label: str
    key: Expr
    key_type: Type
    value: Column
    keys: tuple[Any, ...]
    values: tuple[Any, ...]
    missing: str
    origins: frozenset[str]
    place: Place
    rows: pa.Table | None = None
    ends: tuple[Any, ...] | None = None  # of ranges that begin at the keys; None as an end: for ever

    def table(self) -> Table:
        """Describe the relation that is joined."""
        ends = () if self.ends is None else (Column(name=f"{self.name}.end", type=self.key_type),)
        key = Column(name=f"{self.name}.key", type=self.key_type)
        return Table(schema="", name=self.name, columns=(key, *ends, self.value.having(name=f"{self.name}.value")))

    def on(self) -> Expr:
        """Build the join's condition."""
        begin = trees.name(f"{self.name}.key")
        if self.ends is None:
            return Compare("=", self.key, begin)
        end = trees.name(f"{self.name}.end")
        return And((Compare(">=", self.key, begin), Or((IsNull(end), Compare("<", self.key, end)))))

    def is_at(self, place: int) -> Expr:
        """Build the condition of the entry at a place."""
        begin = Literal(self.keys[place])
        if self.ends is None:
            return Compare("=", self.key, begin)
        above, end = Compare(">=", self.key, begin), self.ends[place]
        return above if end is None else And((above, Compare("<", self.key, Literal(end))))

    def unmatched(self) -> Expr:
        """Build the condition of rows that have a key, but none that is known."""
        there = IsNull(self.key, negated=True)
        if self.rows is not None:
            return And((there, IsNull(trees.name(f"{self.name}.key"))))
        if self.ends is not None and self.keys:
            known = tuple(self.is_at(place) for place in range(len(self.keys)))
            return And((there, Not(known[0] if len(known) == 1 else Or(known))))
        return And((there, Not(In(self.key, tuple(Literal(key) for key in self.keys))))) if self.keys else there


class Lookups:
    """All lookups of one table."""

    def __init__(self, names: Names, directory: Path) -> None:
        self.names, self.directory = names, directory
        self._known: list[Lookup] = []

    def __iter__(self) -> Iterator[Lookup]:
        return iter(self._known)

    @property
    def relations(self) -> dict[str, pa.Table]:
        """The rows of those that are joined, by name."""
        return {one.name: one.rows for one in self._known if one.rows is not None}

    def owns(self, column: str) -> bool:
        """Check whether a column is one of a lookup's relation."""
        return any(column in {f"{one.name}.key", f"{one.name}.end", f"{one.name}.value"} for one in self._known)

    def joined(self, found: list[Expr]) -> list[Lookup]:
        """Find the lookups whose relations these trees read."""
        read = {name for tree in found for name in origins_of(tree)}
        return [one for one in self._known if one.rows is not None and {f"{one.name}.key", f"{one.name}.value"} & read]

    def tree(
        self, setting: Setting, key: Expr, meta: Meta, origins: frozenset[str], typed: Column | None, what: str
    ) -> Expr | None:
        """Build the tree of a looked-up value; None after a fault.

        Parameters
        ----------
        key, meta, origins
            What is looked up, and its source columns.
        typed
            The target column, if the descriptor says its type.
        """
        fields = setting.value
        missing = fields.get("missing", "null" if "default" in fields else "error")
        known = next(
            (
                one
                for one in self._known
                if one.column == setting.column and one.key == key and one.place == setting.place
            ),
            None,
        )
        if known is None:
            found: Found | None = None
            if "values" in fields:
                found = self._written(fields["values"], meta, typed, what)
            elif "table" in fields:
                found = self._read(fields, meta, typed, what)
            if found is None:
                return None
            keys, values, value = found
            ends = None
            if "low" in fields:
                begins = [begin for begin, _ in keys]
                ends, keys = tuple(end for _, end in keys), begins
            name = f"lookup_{len(self._known) + 1}"
            rows = None
            if len(keys) > FEW or (ends is not None and meta.type.is_timestamp):
                columns = {
                    f"{name}.key": pa.array(keys, meta.type.arrow),
                    f"{name}.value": pa.array(values, value.type.arrow),
                }
                if ends is not None:
                    columns[f"{name}.end"] = pa.array(ends, meta.type.arrow)
                rows = pa.table(columns)
            label = str(fields["table"]) if isinstance(fields.get("table"), str) else "the lookup"
            known = Lookup(
                name=name, column=setting.column, label=label, key=key, key_type=meta.type, value=value, keys=tuple(keys), values=tuple(values),
                missing=missing, origins=origins, place=setting.place, rows=rows, ends=ends,
            )  # fmt: skip
            self._known.append(known)
            if rows is not None:
                self.names.columns.extend(known.table().columns)
        otherwise = _kept(key, meta, known.value.type) if missing == "keep" else trees.NULL
        if "default" in fields:
            default = _default(fields["default"], known.value.type, what, self.names.faults)
            if default is None:
                return None
            otherwise = default
        if known.rows is not None:
            value_tree: Expr = trees.name(f"{known.name}.value")
            if otherwise is trees.NULL:
                return value_tree
            return Case(None, ((IsNull(trees.name(f"{known.name}.key")), otherwise),), value_tree)
        whens = tuple((known.is_at(place), Literal(other)) for place, other in enumerate(known.values))
        return Case(None, whens, otherwise) if whens else otherwise

    def _written(self, entries: dict[Written, Written], meta: Meta, column: Column | None, what: str) -> Found | None:
        return _written_here(entries, meta, column, what, self.names.faults)

    def _read(self, fields: Any, meta: Meta, typed: Column | None, what: str) -> Found | None:
        found = _from_table(fields, meta, what, self.directory, self.names.faults)
        return None if found is None else _in_unit(found, typed, what, fields.place, self.names.faults)


def _in_unit(found: Found, target: Column | None, what: str, place: Place, faults: Faults) -> Found | None:
    """Convert the values of a lookup to the unit of the column."""
    keys, values, value = found
    said = value.unit or header_unit(value.name)
    if target is None or not target.unit or not said or not value.type.is_numeric or units.same(said, target.unit):
        return found
    if not units.convertible(said, target.unit):
        if value.unit is None:  # brackets in a header may be anything
            return found
        faults.error(f"{what}: values in {said} cannot be converted to {target.unit}", place, "correct the unit")
        return None
    factor = units.factor(said, target.unit)
    return (
        keys,
        [None if item is None else item * factor for item in values],
        Column(name=value.name, type=FLOAT64, unit=target.unit),
    )


def _default(text: Written, kind: Type, what: str, faults: Faults) -> Expr | None:
    if not kind.is_numeric:
        return Literal(str(text))
    if not DECIMAL.fullmatch(text):
        faults.error(f"{what}.default: {str(text)!r} is no number", text.place)
        return None
    return Literal(int(text) if WHOLE.fullmatch(text) else float(text))


def joined_keys(parts: list[Expr]) -> Expr:
    """Join several keys to one text; what stands between them is in no key."""
    return trees.joined([part for one in parts for part in (one, Literal(BETWEEN))][:-1])


def _kept(key: Expr, meta: Meta, kind: Type) -> Expr:
    return trees.text(key, meta) if kind.is_string else trees.cast(key, meta, kind)


def _written_here(
    entries: dict[Written, Written], meta: Meta, column: Column | None, what: str, faults: Faults
) -> Found | None:
    keys: list[Any] = []
    broken = False
    for key in entries:
        if not meta.type.is_numeric:
            keys.append(str(key))
        elif DECIMAL.fullmatch(key):
            keys.append(int(key) if WHOLE.fullmatch(key) else float(key))
        else:
            faults.error(
                f"{what}.values: the key {str(key)!r} is compared with a number",
                key.place,
                "write a number, or CAST(x AS VARCHAR) under 'from'",
            )
            broken = True
    if broken:
        return None
    texts = list(entries.values())
    if column is not None:
        kind = column.type
    else:
        kind = (
            INT64
            if all(WHOLE.fullmatch(text) for text in texts)
            else FLOAT64
            if all(DECIMAL.fullmatch(text) for text in texts)
            else STRING
        )
    if not kind.is_numeric:
        return keys, [None if text.is_null else str(text) for text in texts], Column(name="value", type=STRING)
    values: list[Any] = []
    for text in texts:
        if text.is_null:
            values.append(None)
        elif DECIMAL.fullmatch(text):
            values.append(int(text) if WHOLE.fullmatch(text) else float(text))
        else:
            faults.error(f"{what}.values: {str(text)!r} is no number", text.place)
            broken = True
    whole = all(isinstance(value, int) for value in values)
    return None if broken else (keys, values, Column(name="value", type=INT64 if whole else FLOAT64))


def _from_table(fields: Any, meta: Meta, what: str, directory: Path, faults: Faults) -> Found | None:
    said: Written | Entries = fields["table"]
    spec = source_spec(said, f"{what}.table", faults)
    if spec is None:
        return None
    if spec.enrich is not None:
        faults.error(
            f"{what}.table.enrich: a lookup has no documents", said.place, "enrich: is for the sources of tables"
        )
        return None
    try:
        module = plugins.load("sources", spec.kind)
        source = module.open(module.Options.model_validate(dict(spec.options)), Context(directory=directory))
        columns = {column.name: column for column in source.columns()}
        names = list(columns)
        chosen = []
        words = [(role, fields[role]) for role in ("low", "high") if role in fields] or [
            ("key", word) for word in fields.get("key", (None,))
        ]
        for position, (role, word) in enumerate([*words, ("value", fields.get("value"))]):
            if word is None and len(names) <= position:
                faults.error(
                    f"{what}.table has only {len(names)} columns", said.place, "a lookup needs a key and a value"
                )
                return None
            if word is not None and word not in columns:
                faults.error(
                    f"{what}.{role}: the table has no column {str(word)!r}",
                    word.place,
                    nearest(word, names) or f"known: {', '.join(names[:12])}",
                )
                return None
            chosen.append(str(word) if word is not None else names[position])
        rows = pa.Table.from_batches(list(source.batches(list(dict.fromkeys(chosen)))))
    except HvenError as error:
        faults.error(f"{what}.table: {error.message}", said.place, error.remedy)
        return None
    if rows.num_rows > MOST:
        faults.error(
            f"{what}.table has {rows.num_rows:,} rows; a lookup may have {MOST:,}",
            said.place,
            "join it in a 'query' source",
        )
        return None
    value = chosen.pop()
    for name in chosen[:1] if "low" in fields else chosen:
        rows = rows.filter(pc.is_valid(rows.column(name)))
    try:
        if "low" in fields:
            return _ranges(rows, chosen, columns[value], meta, what, said.place, faults)
        if len(chosen) > 1:
            keys = pc.binary_join_element_wise(*(rows.column(name).cast(pa.string()) for name in chosen), BETWEEN)
        else:
            keys = rows.column(chosen[0]).cast(meta.type.arrow)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        kind = columns[chosen[0]].type
        faults.error(
            f"{what}: the key {chosen[0]} is {kind}, what is looked up {meta.type}",
            said.place,
            "bring both to one type: CAST(x AS VARCHAR) under 'from'",
        )
        return None
    counts = pc.value_counts(keys)
    twice = (
        [item["values"].as_py() for item in counts if item["counts"].as_py() > 1][:3] if len(counts) < len(keys) else []
    )
    if twice:
        faults.error(f"{what}.table: the key {twice[0]!r} stands there more than once", said.place, "each key once")
        return None
    return keys.to_pylist(), rows.column(value).to_pylist(), columns[value]


def _ranges(
    rows: pa.Table, chosen: list[str], value: Column, meta: Meta, what: str, place: Place, faults: Faults
) -> Found | None:
    """Read ranges: those that begin at one column and end before another one, or before the next; they must not overlap."""
    kind = pa.timestamp("us") if meta.type.is_timestamp else meta.type.arrow
    low = rows.column(chosen[0]).cast(kind)
    order = pc.sort_indices(low)
    begins = low.take(order).to_pylist()
    ends = rows.column(chosen[1]).cast(kind).take(order).to_pylist() if len(chosen) > 1 else [*begins[1:], None]
    for at, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        if end is not None and end < begin:
            faults.error(f"{what}.table: the range from {begin} ends at {end}, before it begins", place)
            return None
        if at + 1 < len(begins) and (end is None or begins[at + 1] < end):
            faults.error(
                f"{what}.table: the ranges from {begin} and from {begins[at + 1]} overlap",
                place,
                "each value in one range at most",
            )
            return None
    return list(zip(begins, ends, strict=True)), rows.column(value.name).take(order).to_pylist(), value
