"""Databases whose drivers give Arrow: columns, narrowing, pages and blocks; what each writes otherwise is in its dialect."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, Self

import pyarrow as pa
import pyarrow.compute as pc

from hven.model import Deviation, DeviationKind, duplicate_name_deviation
from hven.model.errors import SourceError
from hven.model.table import Column
from hven.model.types import from_arrow
from hven.sources import FILE_FACTS, ROW, Offer
from hven.sources._reading.cells import convert, no_nan, plain
from hven.sources._reading.cutting import limited
from hven.sources._reading.delimited import reason_of
from hven.sources._reading.files import assemble, check_names
from hven.sources.sql.blocks import conditions, cut
from hven.sources.sql.dialects import BITS, BYTES, POSTGRESQL, REALS, TEXT, TIME, WHOLE, Dialect
from hven.sources.sql.rows import ALIAS, Condition, Paged, Spelling, Statement, apart, spelled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from hven.sources import Context
    from hven.sources.sql.options import Options

KEYS, FEW = 10_000, 500  # of one statement; of one without tuples
ZERO = "0000-00-00"
UTF8 = "utf8mb4"
VIEWS = {"1", "t", "True"}  # how databases say yes


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A column of a result: `kind` is one of the dialects' words, `origin` schema and table and column that it comes from, if the driver tells."""

    name: str
    kind: str
    arrow: pa.DataType
    origin: tuple[str, str, str] | None = None
    description: str | None = None


class Session(Protocol):
    """A connection, in one read-only transaction where the database has such."""

    def described(self, text: str) -> list[Field]:
        """List the columns of a statement, as they are called there."""

    def asked(self, text: str) -> list[tuple[object, ...]]:
        """Ask something small."""

    def streamed(self, text: str) -> Iterator[pa.RecordBatch]:
        """Yield what a statement gives, as it comes; texts where the driver has no better type."""

    def close(self) -> None:
        """End it, whatever is still under way."""


class ArrowRows(Paged):
    """A table or query of a database whose driver gives Arrow."""

    def __init__(self, options: Options, context: Context) -> None:
        super().__init__(options, context)
        self._zeros: Counter[str] = Counter()

    @property
    @abstractmethod
    def dialect(self) -> Dialect:
        """How this database writes."""

    @abstractmethod
    def _session(self) -> AbstractContextManager[Session]:
        """Connect; what fails within is told by `_failed`."""

    # --- columns ------------------------------------------------------------------------------------------------

    @cached_property
    def _found(self) -> tuple[list[Field], list[str]]:
        """Columns as they are called there, and as they are called here."""
        with self._session() as session:
            found = self._about(session, session.described(self._select(self.dialect.quote)))
        if self._encoding:  # then bytes are texts, too
            found = [replace(field, kind=TEXT) if field.kind == BYTES else field for field in found]
        names = apart([field.name for field in found], str if self.dialect is POSTGRESQL else str.lower)
        for field, name in zip(found, names, strict=True):
            if name != field.name:
                self.context.report(duplicate_name_deviation(field.name, name, self.what))
        return found, names

    @cached_property
    def _fields(self) -> dict[str, Field]:
        found, names = self._found
        return dict(zip(names, found, strict=True))

    def _about(self, session: Session, fields: Sequence[Field]) -> list[Field]:
        """Look up what the database says of the columns."""
        tables = dict.fromkeys(field.origin[:2] for field in fields if field.origin)
        said = {}
        for schema, table in tables if self.dialect.comments else ():
            place = self.dialect.text(schema) if schema else "NULL"
            rows = session.asked(self.dialect.comments.format(place, self.dialect.text(table)))
            said.update({(schema, table, str(name)): str(about) for name, about in rows if about})
        return [replace(field, description=said.get(field.origin)) if field.origin else field for field in fields]

    def _described(self) -> list[Column]:
        return [
            Column(name=name, type=from_arrow(field.arrow), description=field.description)
            for name, field in self._fields.items()
        ]

    def offers(self) -> list[Offer]:
        """List what this user may read; numbers of rows are estimates."""
        if not self.dialect.tables:
            raise SourceError("this database is not known to list its tables", remedy="say which one: --table NAME")
        with self._session() as session:
            rows = session.asked(self.dialect.tables)
        return [
            Offer(
                choice=spelled(str(name), str(schema) if schema is not None else None),
                rows=None if count is None or str(view) in VIEWS else int(str(count)),
                view=str(view) in VIEWS,
            )
            for schema, name, view, count in rows
        ]

    # --- rows ---------------------------------------------------------------------------------------------------

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield rows as the database gives them, in one transaction."""
        yield from limited(self._read(self._statements(limit), self._checked(columns)), limit)

    def _checked(self, columns: Sequence[str] | None) -> list[str]:
        return check_names(columns, list(self._columns), self.what)

    def _read(self, statements: Sequence[Statement], names: Sequence[str], number: int = 1) -> Iterator[pa.RecordBatch]:
        known = self._columns
        real = [name for name in names if name not in {ROW, *FILE_FACTS}] or list(known)[:1]
        with self._session() as session:
            for statement in statements:
                text = f"{self._within}SELECT {', '.join(map(self._sent, real))} FROM {self._from}{statement.clause()}"
                with closing(session.streamed(text)) as stream:  # type: ignore[type-var]
                    for found in stream:
                        bad: set[int] = set()
                        arrays = {}
                        for name, values in zip(real, found.columns, strict=True):
                            arrays[name], faults = self._finished(name, values)
                            for at in [] if faults is None else pc.indices_nonzero(faults).to_pylist():
                                if at not in bad:
                                    bad.add(at)
                                    self._reject(
                                        number + at, name, str(values[at].as_py()), reason_of(arrays[name].type)
                                    )
                        batch = assemble(names, arrays, found.num_rows, number, None)
                        yield batch.filter(pa.array([at not in bad for at in range(found.num_rows)])) if bad else batch
                        number += found.num_rows
                        self.read = number - 1
        self._tell()

    def _finished(self, name: str, values: pa.Array) -> tuple[pa.Array, pa.Array | None]:
        """Convert the driver's values to the column's type, and find which do not fit."""
        kind = self._columns[name].type.arrow
        if values.type == kind:
            return no_nan(values), None
        if pa.types.is_binary(values.type):
            return _decoded(values)
        if pa.types.is_decimal(values.type):  # by its digits: Arrow's own way to a double is off by one bit
            values = values.cast(pa.string())
        try:  # what databases write needs no guess
            return no_nan(values.cast(kind)), None
        except pa.ArrowException:
            if not plain(kind):
                raise SourceError(f"{self.what}, column {name}: values are not {self._columns[name].type}") from None
            values = values.cast(pa.string())
        if self._fields[name].kind == TIME:
            zero = pc.fill_null(pc.starts_with(values, ZERO), False)
            if zeros := pc.sum(zero).as_py():
                self._zeros[name] += zeros
                values = pc.if_else(zero, pa.scalar(None, values.type), values)
        return convert(values, kind)

    def _tell(self) -> None:
        """Tell of dates that are none."""
        for name, count in self._zeros.items():
            message = f"the database holds {ZERO}, which is no day: read as missing"
            self.context.report(
                Deviation(kind=DeviationKind.NULL, column=name, count=count, file=self.what, message=message)
            )
        self._zeros.clear()

    # --- statements ---------------------------------------------------------------------------------------------

    @property
    def _within(self) -> str:
        """What stands before a SELECT: a query whose columns are named apart."""
        if not self._renamed:
            return ""
        names = ", ".join(map(self.dialect.quoted, self._fields))
        return f"WITH {ALIAS} ({names}) AS ({self._select(self.dialect.quote)}\n) "

    @property
    def _from(self) -> str:
        if self._renamed:
            return ALIAS
        if self.options.table:
            return f"{self._select(self.dialect.quote).removeprefix('SELECT * FROM ')} {ALIAS}"
        return f"({self._select(self.dialect.quote)}\n) {ALIAS}"

    @property
    def _renamed(self) -> bool:
        found, names = self._found
        return [field.name for field in found] != names

    def literal(self, value: object) -> str:
        """Write a value: drivers have no places for them that all databases know alike."""
        if isinstance(value, str):
            if "\0" in value:
                raise SourceError("a key has a NUL character", remedy="sync with --full: everything is read")
            return self.dialect.text(value)
        if isinstance(value, float):
            return self.dialect.double.format(repr(value) if "e" in repr(value) else f"{value!r}e0")
        return str(value) if isinstance(value, int) else self.dialect.time.format(f"{value:%Y-%m-%d %H:%M:%S.%f}")

    def plain(self, name: str) -> str:
        """Write a column, a text in the encoding that it has in truth."""
        column = self.dialect.quoted(name)
        if self._encoding and self._fields[name].kind == TEXT:
            return self.dialect.recoded.format(column, self._encoding)
        return column

    def compared(self, name: str, *, computed: bool) -> str:
        """Write a column as it compares in the order of what is read from it; `computed`: as a term of a sum."""
        kind = self._fields[name].kind
        how = (self.dialect.added.get(kind) if computed else None) or self.dialect.compared.get(kind, "{}")
        return how.format(self.plain(name))

    def missing(self, name: str) -> str:
        """Write that a column has no value."""
        return self.dialect.missing.get(self._fields[name].kind, "{0} IS NULL").format(self.plain(name))

    @property
    def _encoding(self) -> str:
        said = (self.options.encoding or "").lower()
        if said and not self.dialect.recoded:
            raise SourceError(
                f"`encoding` is not known of {self.dialect.name}", remedy="leave it out, or convert in `query`"
            )
        return UTF8 if said in {"utf-8", "utf8", "utf8mb3"} else said

    def _sent(self, name: str) -> str:
        if self._encoding == UTF8 and self._fields[name].kind == TEXT:  # judged here: there, what is none becomes `?`
            return f"CAST({self.dialect.quoted(name)} AS BINARY)"
        return self.dialect.sent.get(self._fields[name].kind, "{}").format(self.plain(name))

    def _words(self) -> Spelling:
        return _Spelling(self)

    def _comparable(self, name: str) -> bool:
        return self._fields[name].kind in {WHOLE, BITS, TEXT, TIME, *REALS} and not self._columns[name].type.is_array

    def _portion(self, columns: int) -> int:
        return max(1, (KEYS if self.dialect.tuples else FEW) // columns)

    def _among(self, columns: Sequence[str], keys: pa.Table) -> Condition:
        names = [
            self.plain(name) if self._fields[name].kind == TEXT else self.compared(name, computed=False)
            for name in columns
        ]
        rows = [
            [self.literal(value) for value in row]
            for row in zip(*(keys.column(name).to_pylist() for name in columns), strict=True)
        ]
        if len(names) == 1:
            return Condition(sql=f"{names[0]} IN ({', '.join(row[0] for row in rows)})")
        if self.dialect.tuples:
            several = ", ".join(f"({', '.join(row)})" for row in rows)
            return Condition(sql=f"({', '.join(names)}) IN ({several})")
        each = (" AND ".join(f"{name} = {value}" for name, value in zip(names, row, strict=True)) for row in rows)
        return Condition(sql=f"({' OR '.join(f'({one})' for one in each)})")

    # --- blocks -------------------------------------------------------------------------------------------------

    def blocks(self, key: Sequence[str], columns: Sequence[str]) -> pa.Table | None:
        """Sum up blocks of keys where they are: a hash of each row, added up. None: that cannot be told of this database."""
        how = self.dialect.summing
        if how is None or not key or any(name not in self._columns for name in (*key, *columns)):
            return None
        source = f"FROM {self._from}{Statement(conditions=self._narrowed).clause()}"
        with self._session() as session:
            cutting = "h"
            if len(key) == 1 and self._fields[key[0]].kind == WHOLE:
                name = self.dialect.quoted(key[0])
                (low, high, rows), *_ = session.asked(
                    f"{self._within}SELECT MIN({name}), MAX({name}), COUNT(*) {source}"
                )
                first, last = (None if one is None else int(str(one)) for one in (low, high))
                cutting = cut(first, last, int(str(rows)))
            row = how.checksum([self._summed(name) for name in dict.fromkeys((*key, *columns))])
            found = session.asked(
                f"{self._within}SELECT {how.number(cutting, key)}, COUNT(*), {how.total.format(row)} {source} GROUP BY 1"
            )
        return pa.table(
            {
                "block": pa.array([f"{cutting}:{'null' if at is None else at}" for at, _, _ in found], pa.string()),
                "rows": pa.array([int(str(rows)) for _, rows, _ in found], pa.int64()),
                "checksum": pa.array([str(total) for _, _, total in found], pa.string()),
            }
        )

    def _summed(self, name: str) -> str:
        """Write a value with all of its digits."""
        return self.compared(name, computed=False) if self._fields[name].kind in REALS else self._sent(name)

    def block(self, key: Sequence[str], blocks: Sequence[object]) -> Self:
        """Select the rows of some blocks."""
        how = self.dialect.summing
        if how is None:
            raise SourceError(f"{self.what} has no blocks", remedy="deletions: compare")
        return self._part(
            portions=(Condition(sql=text) for text in conditions(key, [str(block) for block in blocks], how))
        )


def _decoded(values: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """Read as UTF-8, and find what is none."""
    texts: list[str | None] = []
    for value in values.to_pylist():  # one of them is none: that is rare
        try:
            texts.append(None if value is None else value.decode())
        except UnicodeDecodeError:
            texts.append(None)
    found = pa.array(texts, pa.string())
    return found, pc.and_(found.is_null(), values.is_valid())


class _Spelling(Spelling):
    rows: ArrowRows

    def column(self, name: str, *, computed: bool) -> str:
        """Write as it compares."""
        return self.rows.compared(name, computed=computed)

    def missing(self, name: str) -> str:
        """Count as missing what is read as missing."""
        return self.rows.missing(name)

    def plain(self, name: str) -> str:
        """Quote in the database's manner."""
        return self.rows.plain(name)

    def value(self, value: object) -> str:
        """Write a literal; texts as bytes, for so their columns compare."""
        return self.rows.dialect.bytes_(value) if isinstance(value, str) else self.rows.literal(value)
