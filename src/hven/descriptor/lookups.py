"""``lookup``: a value found by a key, in a table written in the descriptor or in a file beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hven import plugins
from hven.adql.tree import And, Case, Compare, Expr, In, IsNull, Literal, Not
from hven.descriptor import trees
from hven.descriptor.options import source_spec
from hven.descriptor.shapes import nearest
from hven.descriptor.written import DECIMAL, WHOLE, Entries, Written
from hven.errors import HvenError
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT64, STRING, Type
from hven.sources import Context

if TYPE_CHECKING:
    from hven.adql.tree import Meta
    from hven.descriptor.compiling import Compiler, _Round
    from hven.errors import Place
    from hven.model.resource import Setting

FEW = 64  # up to so many keys become a CASE, more a join
MOST = 2_000_000


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
    missing: str
    origins: frozenset[str]
    place: Place
    rows: pa.Table | None = None

    def table(self) -> Table:
        """The relation that is joined."""
        return Table(schema="", name=self.name, columns=(Column(name=f"{self.name}.key", type=self.key_type), self.value.having(name=f"{self.name}.value")))

    def on(self) -> Expr:
        """The join's condition."""
        return Compare("=", self.key, trees.name(f"{self.name}.key"))

    def unmatched(self) -> Expr:
        """True for rows that have a key, but none that is known."""
        there = IsNull(self.key, negated=True)
        if self.rows is not None:
            return And((there, IsNull(trees.name(f"{self.name}.key"))))
        return And((there, Not(In(self.key, tuple(Literal(key) for key in self.keys))))) if self.keys else there


def lookup(compiler: Compiler, targets: _Round, setting: Setting, column: Column | None, what: str) -> Expr:
    """Give the tree of a looked-up value; notes the lookup with the compiler."""
    from hven.descriptor.compiling import _Broken, written

    fields = setting.value
    text = written(fields["from"], setting.place)
    key, meta = compiler.bound(text, f"{what}.from", targets)
    origins = compiler.origins(meta)
    compiler.used |= origins
    typed = column if column is not None and column.name in compiler.spec.given and "type" in compiler.spec.given[column.name] else None
    if "values" in fields:
        keys, values, value = _written_here(fields["values"], meta, typed, what, compiler)
        label = "the lookup"
    else:
        keys, values, value = _from_table(fields, meta, what, compiler)
        label = str(fields["table"]) if isinstance(fields["table"], str) else "the lookup's table"
    if keys is None or values is None or value is None:
        raise _Broken
    missing = fields.get("missing", "error")
    known = next((one for one in compiler.lookups.values() if (one.column, one.key, one.place) == (setting.column, key, setting.place)), None)
    if known is None:
        name = f"lookup_{len(compiler.lookups) + 1}"
        rows = None
        if len(keys) > FEW:
            rows = pa.table({f"{name}.key": pa.array(keys, meta.type.arrow), f"{name}.value": pa.array(values, value.type.arrow)})
        known = Lookup(
            name=name, column=setting.column, label=label, key=key, key_type=meta.type, value=value, keys=tuple(keys), missing=missing, origins=origins,
            place=setting.place, rows=rows,
        )  # fmt: skip
        compiler.lookups[name] = known
        if rows is not None:
            compiler.columns.extend(known.table().columns)
    if known.rows is not None:
        found: Expr = trees.name(f"{known.name}.value")
        if missing != "keep":
            return found
        kept = _kept(key, meta, value.type)
        return Case(None, ((IsNull(trees.name(f"{known.name}.key")), kept),), found)
    otherwise = _kept(key, meta, value.type) if missing == "keep" else trees.NULL
    whens = tuple((Compare("=", key, Literal(one)), Literal(other)) for one, other in zip(keys, values, strict=True))
    return Case(None, whens, otherwise) if whens else otherwise


def _kept(key: Expr, meta: Meta, kind: Type) -> Expr:
    return trees.text(key, meta) if kind.is_string else trees.cast(key, meta, kind)


def _written_here(
    entries: dict[Written, Written], meta: Meta, column: Column | None, what: str, compiler: Compiler
) -> tuple[list[Any] | None, list[Any] | None, Column | None]:
    keys: list[Any] = []
    broken = False
    for key in entries:
        if not meta.type.is_numeric:
            keys.append(str(key))
        elif DECIMAL.fullmatch(key):
            keys.append(int(key) if WHOLE.fullmatch(key) else float(key))
        else:
            compiler.faults.error(f"{what}.values: the key {str(key)!r} is compared with a number", key.place, "write a number, or CAST(x AS VARCHAR) under 'from'")
            broken = True
    if broken:
        return None, None, None
    texts = list(entries.values())
    if column is not None:
        kind = column.type
    else:
        kind = INT64 if all(WHOLE.fullmatch(text) for text in texts) else FLOAT64 if all(DECIMAL.fullmatch(text) for text in texts) else STRING
    if not kind.is_numeric:
        return keys, [None if text.is_null else str(text) for text in texts], Column(name="value", type=STRING)
    values: list[Any] = []
    for text in texts:
        if text.is_null:
            values.append(None)
        elif DECIMAL.fullmatch(text):
            values.append(int(text) if WHOLE.fullmatch(text) else float(text))
        else:
            compiler.faults.error(f"{what}.values: {str(text)!r} is no number", text.place)
            broken = True
    whole = all(isinstance(value, int) for value in values)
    return (None, None, None) if broken else (keys, values, Column(name="value", type=INT64 if whole else FLOAT64))


def _from_table(fields: Any, meta: Meta, what: str, compiler: Compiler) -> tuple[list[Any] | None, list[Any] | None, Column | None]:
    faults = compiler.faults
    nothing = (None, None, None)
    said: Written | Entries = fields["table"]
    spec = source_spec(said, f"{what}.table", faults)
    if spec is None:
        return nothing
    try:
        module = plugins.load("sources", spec.kind)
        source = module.open(module.Options.model_validate(dict(spec.options)), Context(directory=compiler.resource.path.parent))
        columns = {column.name: column for column in source.columns()}
        names = list(columns)
        chosen = []
        for position, role in enumerate(("key", "value")):
            word = fields.get(role)
            if word is None and len(names) <= position:
                faults.error(f"{what}.table has only {len(names)} columns", said.place, "a lookup needs a key and a value")
                return nothing
            if word is not None and word not in columns:
                faults.error(f"{what}.{role}: the table has no column {str(word)!r}", word.place, nearest(word, names) or f"known: {', '.join(names[:12])}")
                return nothing
            chosen.append(str(word) if word is not None else names[position])
        rows = pa.Table.from_batches(list(source.batches(chosen)))
    except HvenError as error:
        faults.error(f"{what}.table: {error.message}", said.place, error.remedy)
        return nothing
    if rows.num_rows > MOST:
        faults.error(f"{what}.table has {rows.num_rows:,} rows; a lookup may have {MOST:,}", said.place, "join it in a 'query' source")
        return nothing
    rows = rows.filter(pc.is_valid(rows.column(chosen[0])))
    try:
        keys = rows.column(chosen[0]).cast(meta.type.arrow)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        kind = columns[chosen[0]].type
        faults.error(f"{what}: the key {chosen[0]} is {kind}, what is looked up {meta.type}", said.place, "bring both to one type: CAST(x AS VARCHAR) under 'from'")
        return nothing
    counts = pc.value_counts(keys)
    twice = [item["values"].as_py() for item in counts if item["counts"].as_py() > 1][:3] if len(counts) < len(keys) else []
    if twice:
        faults.error(f"{what}.table: the key {twice[0]!r} stands there more than once", said.place, "each key once")
        return nothing
    return keys.to_pylist(), rows.column(chosen[1]).to_pylist(), columns[chosen[1]]
