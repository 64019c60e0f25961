"""What the databases have in common: columns, narrowing, picking, pages, values that don't fit their type."""

from __future__ import annotations

import copy
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from hven.model.errors import SourceError
from hven.sources import FILE_FACTS, ROW, Context, Pin, Reject
from hven.sources._reading.cells import convert, plain
from hven.sources._reading.files import assemble
from hven.sources._reading.pages import Key, Turning
from hven.sources._reading.watermark import Narrowing, Watermark, watermark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hven.model.table import Column
    from hven.sources.sql.options import Options

ROWS = 32_768
SAMPLE = 5_000
PAGE = 50_000  # rows between two places to go on from, unless somebody says otherwise
ALIAS = "hven_source"
_PARTS = re.compile(r'"(?:[^"]|"")+"|[^.]+')  # of a table's name: a dot inside quotes separates nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A condition in SQL; `values` go where `PLACE` stands, in order."""

    sql: str
    values: tuple[object, ...] = ()

    def also(self, other: Condition) -> Condition:
        """Join two conditions by AND."""
        return Condition(sql=f"{self.sql} AND {other.sql}", values=(*self.values, *other.values))


PLACE = "\x00"  # where a value goes: no SQL has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A SELECT with its values; `order`: the key, in the order of its columns."""

    conditions: tuple[Condition, ...] = ()
    order: tuple[str, ...] = ()
    limit: int | None = None

    def clause(self) -> str:
        """Write everything behind FROM."""
        where = f" WHERE {' AND '.join(one.sql for one in self.conditions)}" if self.conditions else ""
        order = f" ORDER BY {', '.join(self.order)}" if self.order else ""
        return f"{where}{order}" + (f" LIMIT {int(self.limit)}" if self.limit is not None else "")

    @property
    def values(self) -> tuple[object, ...]:
        """The values in the order of their places."""
        return tuple(value for one in self.conditions for value in one.values)


class Rows(Narrowing):
    """A table or query of a database. Copies of it read a part: what is newer, some keys, some blocks."""

    def __init__(self, options: Options, context: Context) -> None:
        self.options = options
        self.context = context
        self.read = 0
        self._narrowed: tuple[Condition, ...] = ()  # all of them hold
        self._portions: tuple[Condition, ...] | None = None  # a statement for each; None: one for everything

    def columns(self) -> list[Column]:
        """List the columns with their types."""
        return list(self._columns.values())

    @cached_property
    def _columns(self) -> dict[str, Column]:
        return {column.name: column for column in self._described()}

    @abstractmethod
    def _described(self) -> list[Column]:
        """Ask the database for the columns."""

    def _select(self, quote: str = '"') -> str:
        if self.options.query is not None:
            return self.options.query.strip().rstrip(";")
        return "SELECT * FROM " + ".".join(
            part if part.startswith(quote) else f"{quote}{part.replace(quote, quote * 2)}{quote}"
            for part in self.parts(self.options.table)
        )

    @staticmethod
    def parts(table: str | None) -> list[str]:
        """Cut a table's name: a dot inside quotes separates nothing."""
        return _PARTS.findall(table or "")

    @property
    def what(self) -> str:
        """What is read, in words, for messages."""
        return f"table {self.options.table}" if self.options.table else "the query"

    def size(self) -> int | None:
        """Return None: nobody knows the number of rows without asking for all of them."""
        return None

    def pins(self) -> list[Pin]:
        """Name the table or query; the address is not shown."""
        return [
            Pin(
                name=self.options.file
                or (self.options.url if (self.options.url or "").startswith("$") else None)
                or "database",
                detail=self._select(),
            )
        ]

    # --- a part of the rows -----------------------------------------------------------------------------------

    def _newer(self, known: Watermark, value: object) -> Self:
        words = self._words()
        return self._part(Condition(sql=known.condition(value, words), values=tuple(words.values)))

    def _watermark(self, expression: str) -> Watermark | None:
        known = watermark(expression, self.columns())
        return known if known is not None and all(self._comparable(name) for name in known.columns) else None

    def _comparable(self, name: str) -> bool:
        """Check whether values of the column have the same order there and here."""
        return name in self._columns

    def pick(self, columns: Sequence[str], keys: pa.Table) -> Self:
        """Select the rows whose `columns` are in `keys`."""
        for name in columns:
            if name not in self._columns:
                raise SourceError(
                    f"{self.what} has no column {name!r}", remedy=f"it has {', '.join(list(self._columns)[:12])}"
                )
        return self._part(portions=self._picking(columns, keys.select(list(columns))))

    def _picking(self, columns: Sequence[str], keys: pa.Table) -> Iterator[Condition]:
        """Cut keys into portions; those with nulls have conditions of their own."""
        if not keys.num_rows:
            return
        keys = keys.combine_chunks()
        missing = [keys.column(name).is_null() for name in columns]
        number = pa.chunked_array([pa.repeat(pa.scalar(0, pa.int64()), keys.num_rows)])
        for place, nulls in enumerate(missing):
            number = pc.add(number, pc.multiply(nulls.cast(pa.int64()), pa.scalar(1 << place, pa.int64())))
        for pattern in sorted(pc.unique(number).to_pylist()):
            some = keys.filter(pc.equal(number, pattern))
            there = [name for place, name in enumerate(columns) if not pattern >> place & 1]
            gone = [self._words().missing(name) for place, name in enumerate(columns) if pattern >> place & 1]
            if not there:
                yield Condition(sql=f"({' AND '.join(gone)})")
                continue
            step = self._portion(len(there))
            for at in range(0, some.num_rows, step):
                among = self._among(there, some.select(there).slice(at, step))
                yield Condition(sql=f"({' AND '.join([*gone, among.sql])})", values=among.values)

    @abstractmethod
    def _portion(self, columns: int) -> int:
        """Return how many keys go into one statement."""

    @abstractmethod
    def _among(self, columns: Sequence[str], keys: pa.Table) -> Condition:
        """Write that `columns` are among `keys`, which have no nulls."""

    def _part(self, *conditions: Condition, portions: Iterable[Condition] | None = None) -> Self:
        _ = self._columns  # what was seen of the whole holds for its parts
        part = copy.copy(self)
        cut = self._portions
        if portions is not None:
            new = tuple(portions)
            cut = new if cut is None else tuple(one.also(other) for one in cut for other in new)
        vars(part).update(read=0, _narrowed=(*self._narrowed, *conditions), _portions=cut)
        return part

    def _statements(self, limit: int | None = None) -> list[Statement]:
        """List what is asked, one after the other in one transaction."""
        if self._portions is None:
            return [Statement(conditions=self._narrowed, limit=limit)]
        return [Statement(conditions=(*self._narrowed, portion), limit=limit) for portion in self._portions]

    @abstractmethod
    def _words(self) -> Spelling:
        """Return how conditions are written."""

    # --- values that don't fit ----------------------------------------------------------------------------------

    def _reject(self, row: int, column: str, value: str, reason: str) -> None:
        if self.context.reject is None:
            raise SourceError(f"{self.what}, row {row}, column {column}: {value!r} is {reason}")
        self.context.reject(Reject(file=None, row=row, column=column, value=value, reason=reason))

    def _typed(self, values: Sequence[Any], name: str, number: int, bad: set[int]) -> pa.Array:
        """Convert a column's values to an array; those that don't fit the type are set aside."""
        kind = self._columns[name].type.arrow
        try:
            return pa.array(values, kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            pass
        texts = [
            None if value is None else value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            for value in values
        ]
        text = pa.array(texts, pa.string())
        if not plain(kind):
            raise SourceError(f"{self.what}, column {name}: values are not {self._columns[name].type}")
        array, faults = convert(text, kind)
        for at in [] if faults is None else pc.indices_nonzero(faults).to_pylist():
            if at not in bad:
                bad.add(at)
                self._reject(number + at, name, texts[at] or "", f"not {self._columns[name].type}")
        return array

    def _assembled(self, rows: Sequence[Sequence[Any]], names: Sequence[str], number: int) -> pa.RecordBatch:
        """Assemble a batch of fetched rows, column by column."""
        known = list(self._columns)
        columns = list(zip(*rows, strict=True))
        bad: set[int] = set()
        arrays = {
            name: self._typed(columns[known.index(name)], name, number, bad)
            for name in names
            if name not in {ROW, *FILE_FACTS}
        }
        batch = assemble(names, arrays, len(rows), number, None)
        return batch.filter(pa.array([at not in bad for at in range(len(rows))])) if bad else batch


class Spelling(ABC):
    """How a database writes the parts of a condition (see `hven.sources._reading.watermark.Words`); `values` collects what goes where `PLACE` stands."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.values: list[object] = []

    @abstractmethod
    def column(self, name: str, *, computed: bool) -> str:
        """Write a column so that it compares as its values do here."""

    def missing(self, name: str) -> str:
        """Write that there is no value."""
        return f"{self.plain(name)} IS NULL"

    def plain(self, name: str) -> str:
        """Write a column's name."""
        return quoted(name)

    def value(self, value: object) -> str:
        """Write a value."""
        self.values.append(value)
        return PLACE


class Paged(Rows):
    """Those that are read in the order of a key: who was left goes on behind it."""

    def pages(
        self, columns: Sequence[str] | None = None, after: str | None = None
    ) -> Iterator[tuple[pa.RecordBatch, str]]:
        """Yield rows in the order of the key, with what to say to go on behind them; without a known key all at once."""
        key = Key.of(self.context.key, self._columns, self._comparable)
        names = self._checked(columns)
        if key is None or self._portions is not None:
            yield from ((batch, "") for batch in self._read(self._statements(), names))
            return
        turning = Turning(key, names, self.context.page or PAGE, after)
        spoken = self._words()
        order = tuple(spoken.column(name, computed=False) for name in key.names)
        known = " AND ".join(f"NOT ({spoken.missing(name)})" for name in key.names)
        with_key = [*self._narrowed, Condition(sql=known)]
        if turning.after is not None:
            words = self._words()
            behind = key.behind(turning.after, words)
            with_key.append(Condition(sql=behind, values=tuple(words.values)))
        without = Condition(sql=f"({' OR '.join(spoken.missing(name) for name in key.names)})")
        statements = [
            Statement(conditions=tuple(with_key), order=order),
            Statement(conditions=(*self._narrowed, without)),
        ]
        yield from turning.turned(self._read(statements, turning.asked, turning.row))

    @abstractmethod
    def _checked(self, columns: Sequence[str] | None) -> list[str]:
        """Check wanted names."""

    @abstractmethod
    def _read(self, statements: Sequence[Statement], names: Sequence[str], number: int = 1) -> Iterator[pa.RecordBatch]:
        """Ask one statement after the other in one picture of the data; `number` is the first row's."""


def quoted(name: str) -> str:
    """Write a name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def apart(names: Sequence[str], alike: Callable[[str], str] = str.lower) -> list[str]:
    """Name columns of a result apart: the first of one name keeps it, the others are NAME_2, NAME_3 ..; `alike`: what makes two names one."""
    taken = {alike(name) for name in names}
    seen: set[str] = set()
    found = []
    for name in names:
        number, new = 2, name
        while alike(new) in seen or (new != name and alike(new) in taken):
            number, new = number + 1, f"{name}_{number}"
        seen.add(alike(new))
        found.append(new)
    return found


def spelled(name: str, schema: str | None = None) -> str:
    """Write a name as the option `table` wants it: quoted if a dot stands in it."""
    parts = [part for part in (schema, name) if part]
    return ".".join(quoted(part) if "." in part else part for part in parts)


def left(limit: int | None, number: int) -> int:
    """Count the rows to fetch next; `number` is the next row's."""
    return ROWS if limit is None else max(0, min(ROWS, limit - number + 1))


def without_url(text: str, url: str) -> str:
    """Redact the address and its password in a driver's message."""
    parts = urlsplit(url)
    secrets = [url, parts.password, parts.netloc]
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return " ".join(text.split())
