"""The rows of a table or query of a TAP service: page by page in the order of a key, or in one answer where none is known."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import TYPE_CHECKING, Self, TypeVar

import pyarrow as pa

from hven.model import Deviation, DeviationKind
from hven.model.errors import HvenError, SourceError
from hven.model.table import Column
from hven.sources import FILE_FACTS, ROW, Context, Pin
from hven.sources._reading.adqlwords import AdqlWords, table_name
from hven.sources._reading.cells import no_nan
from hven.sources._reading.cutting import cut
from hven.sources._reading.files import assemble, check_names
from hven.sources._reading.pages import Key
from hven.sources._reading.tapservice import TapService, TruncatedAnswerError, overflows
from hven.sources._reading.watermark import Narrowing, Watermark, watermark

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PAGE = 50_000  # rows of a page, unless somebody says otherwise
ALL = 2_000_000_000  # MAXREC of a query whose rows shall all come
KEYS = 500  # keys that are asked for at once
ROUND = 100  # a page that ends at a round number may have been cut without a word
T = TypeVar("T", bound="pa.Array | pa.ChunkedArray")
LATER = 1000  # one row in so many may be added or deleted while a table is read


class TapRows(Narrowing):
    """A table (`table`) or a query (`adql`) of a TAP service. Copies of it read a part: what is newer, some keys."""

    def __init__(
        self,
        tap: TapService,
        context: Context,
        *,
        table: str | None = None,
        adql: str | None = None,
        columns: Sequence[str] | None = None,
        key: Sequence[str] = (),
        page: int | None = None,
    ) -> None:
        self.tap = tap
        self.context = context
        self.table = table
        self.adql = adql.strip().rstrip(";") if adql is not None else None
        self.wanted = columns
        self._said_key = tuple(key)
        self._page = page
        self.read = 0
        self._where: tuple[str, ...] = ()
        self._portions: tuple[tuple[str, ...], ...] | None = None  # conditions of which one must hold, some at a time
        self._picked: tuple[str, ...] = ()
        self._count: int | None = None

    def within(self, context: Context) -> Self:
        """Copy the source for another context, at its rate."""
        self.tap.service.slow(context.rate)
        return super().within(context)

    @property
    def _step(self) -> int:
        return self.context.page or self._page or PAGE

    # --- what there is ------------------------------------------------------------------------------------------

    def columns(self) -> list[Column]:
        """List the columns as the service describes them: types as it sends them; what its answers do not say is from TAP_SCHEMA."""
        return list(self._columns.values())

    def about(self) -> tuple[str | None, str | None]:
        """Return the table's description."""
        return None, self._description

    def size(self) -> int | None:
        """Count the rows, if the service can."""
        if self._portions is None and self._count is None:
            self._count = self._counted()
        return self._count

    def unique(self, columns: Sequence[str]) -> bool:
        """Check whether one column has another value in each row; False if the service does not say, soon."""
        if len(columns) != 1:
            return False
        name = self._words.column(columns[0])
        try:
            found = self.tap.page(
                f"SELECT COUNT(*) AS hven_rows, COUNT(DISTINCT {name}) AS hven_values {self._from()}", 1, small=True
            ).table
            return bool(found.column(0)[0].as_py() == found.column(1)[0].as_py() > 0)
        except (HvenError, IndexError, TypeError):
            return False

    def pins(self) -> list[Pin]:
        """Name the service, and what was asked of it."""
        return [Pin(name=self.tap.service.url, detail=self.adql or f"SELECT * FROM {table_name(self.table or '')}")]

    @property
    def what(self) -> str:
        """What is read, in words, for messages."""
        return (
            f"table {self.table} of {self.tap.service.host}" if self.table else f"the query to {self.tap.service.host}"
        )

    @cached_property
    def _columns(self) -> dict[str, Column]:
        text = self.adql or f"SELECT TOP 1 * FROM {table_name(self.table or '')}"
        found = self.tap.page(text, 1).head.columns
        names = [column.name for column in found]
        for name in names:
            if names.count(name) > 1:
                raise SourceError(f"{self.what} has two columns {name!r}", remedy="name them apart with AS")
        if self.wanted is not None:
            wanted = check_names(self.wanted, names, self.what)
            found = [next(column for column in found if column.name == name) for name in wanted]
        said = {column.name.lower(): column for column, _ in self._schema}
        return {column.name: _described(column, said.get(column.name.lower())) for column in found}

    @cached_property
    def _schema(self) -> list[tuple[Column, str]]:
        """What TAP_SCHEMA says of columns, and how their names are written; perhaps nothing."""
        if self.table is None:
            return []
        wanted = ", ".join(
            AdqlWords({}).value(name)
            for name in dict.fromkeys((self.table, self.table.replace('"', ""), table_name(self.table)))
        )
        text = f"SELECT column_name, description, unit, ucd, utype, indexed FROM TAP_SCHEMA.columns WHERE table_name IN ({wanted})"
        try:
            rows = (
                self.tap.page(text, 100_000, small=True, whole=True)
                .table.rename_columns(["name", "description", "unit", "ucd", "utype", "indexed"])
                .to_pylist()
            )
        except TruncatedAnswerError as error:  # the rows are there as a whole: what is said of them is not
            self.context.report(
                Deviation(
                    kind=DeviationKind.SERVICE, message=f"columns have no metadata of TAP_SCHEMA: {error.message}"
                )
            )
            return []
        except (HvenError, ValueError):
            return []
        found = []
        for row in rows:
            spelled = str(row.pop("name") or "").strip()
            indexed = str(row.pop("indexed")) in {"1", "True"}
            given = {word: text.strip() or None for word, text in row.items() if isinstance(text, str)}
            if spelled:
                column = Column(
                    name=spelled.strip('"').replace('""', '"'),
                    indexed=indexed,
                    description=given.get("description"),
                    unit=given.get("unit"),
                    ucd=given.get("ucd"),
                    utype=given.get("utype"),
                )
                found.append((column, spelled))
        return found

    @cached_property
    def _description(self) -> str | None:
        if self.table is None:
            return None
        text = f"SELECT description FROM TAP_SCHEMA.tables WHERE table_name = {AdqlWords({}).value(self.table)}"
        try:
            rows = self.tap.page(text, 10, small=True).table.column(0).to_pylist()
        except (HvenError, IndexError):
            return None
        return next((str(one).strip() for one in rows if one), None)

    @cached_property
    def _words(self) -> AdqlWords:
        here = {name.lower(): name for name in self._columns}
        return AdqlWords(
            {here[column.name.lower()]: spelled for column, spelled in self._schema if column.name.lower() in here}
        )

    @cached_property
    def key(self) -> Key | None:
        """The key that rows are asked by: the one that was said, or an indexed identifier of TAP_SCHEMA."""
        if said := self._said_key or tuple(self.context.key):
            return Key.of(check_names(said, list(self._columns), self.what), self._columns, self._exact)
        here = {name.lower(): name for name in self._columns}
        for column, _ in self._schema:
            if (
                column.indexed
                and (column.ucd or "").lower().startswith("meta.id;meta.main")
                and column.name.lower() in here
            ):
                return Key.of([here[column.name.lower()]], self._columns, self._exact)
        return None

    def _exact(self, name: str) -> bool:
        # a literal is of double precision: 0.1 is another number there
        return str(self._columns[name].type) != "float32"

    # --- a part of it -------------------------------------------------------------------------------------------

    def _newer(self, known: Watermark, value: object) -> Self:
        return self._part(where=(*self._where, known.condition(value, self._words)))

    def _watermark(self, expression: str) -> Watermark | None:
        return watermark(expression, self.columns())

    def pick(self, columns: Sequence[str], keys: pa.Table) -> Self:
        """Select the rows whose `columns` are in `keys`."""
        names = check_names(columns, list(self._columns), self.what)
        return self._part(portions=tuple(self._words.among(names, keys, KEYS)), picked=tuple(names))

    def _part(
        self,
        *,
        where: tuple[str, ...] | None = None,
        portions: tuple[tuple[str, ...], ...] | None = None,
        picked: tuple[str, ...] | None = None,
    ) -> Self:
        _ = (self._columns, self._words, self.key)  # what was seen of the whole holds for its parts
        part = copy.copy(self)
        vars(part).update(
            read=0,
            _count=None,
            _where=self._where if where is None else where,
            _portions=self._portions if portions is None else portions,
            _picked=self._picked if picked is None else picked,
        )
        return part

    # --- rows ---------------------------------------------------------------------------------------------------

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield rows, in the order of the key if there is one."""
        self.tap.service.renew_budget()
        names = check_names(columns, list(self._columns), self.what)
        self.read = 0
        if self._portions is not None:
            found = self._of_portions(names)
        elif limit is not None and limit <= self._step:
            page = self.tap.page(self._select(names, top=limit), limit)
            found = self._typed(page.head.columns, page.table.to_batches(), names, 1)
        elif self.key is not None:
            found = (batch for batch, _ in self.pages(columns))
        else:
            found = self._at_once(names)
        yield from cut(found, self.context.batch, limit)

    def pages(
        self, columns: Sequence[str] | None = None, after: str | None = None
    ) -> Iterator[tuple[pa.RecordBatch, str]]:
        """Yield rows in the order of the key, each page an answer of its own, with what to say to go on behind it."""
        key = self.key
        if key is None or self._portions is not None:
            yield from ((batch, "") for batch in self.batches(columns))
            return
        self.tap.service.renew_budget()
        names = check_names(columns, list(self._columns), self.what)
        number, last = key.read(after) if after else (1, None)
        before = self.size() if not self._where and last is None else None
        for table in self._ordered(key, names, last):
            place = key.place(table, table.num_rows - 1, number + table.num_rows)
            parts = list(self._typed(self._asked_for(names, key), table.to_batches(), names, number))
            number += table.num_rows
            self.read = number - 1
            for part in parts[:-1]:
                yield part, ""
            yield parts[-1], place
        if before is None or number - 1 < before:
            for batch in self._nameless(key, names, number):
                number += batch.num_rows
                yield batch, ""
        if before is not None:
            self._all_there(number - 1, before)

    def _ordered(self, key: Key, names: Sequence[str], last: tuple[object, ...] | None) -> Iterator[pa.Table]:
        """Yield pages that end where the key changes."""
        size = self._step
        asked = [column.name for column in self._asked_for(names, key)]
        order = ", ".join(self._words.column(name) for name in key.names)
        kinds = {name: self._columns[name].type.arrow for name in key.names}
        while True:
            # a first column that is larger than the last one has a value; the others may have none
            where = [f"{self._words.column(name)} IS NOT NULL" for name in key.names[0 if last is None else 1 :]]
            if last is not None:
                where.append(key.behind(last, self._words))
            page = self.tap.page(f"{self._select(asked, where=where, top=size)} ORDER BY {order}", size)
            table = page.table
            ends = table.num_rows < size and not page.overflow and (table.num_rows % ROUND > 0 or not table.num_rows)
            if not table.num_rows:
                if page.overflow:
                    raise SourceError(
                        f"{self.what} gives no row, and says that there are more", remedy="say a smaller `page`"
                    )
                return
            table = table.rename_columns(asked)
            for name, kind in kinds.items():
                table = table.set_column(asked.index(name), name, _cast(table.column(name), kind, name, self.what))
            cut = table.num_rows if ends else key.whole(table)
            if not cut and table.num_rows < size and not page.overflow:  # a round number, after all
                cut, ends = table.num_rows, False
            if not cut:  # one key fills the page
                if table.num_rows < size:
                    raise SourceError(
                        f"{self.what} has more rows of one key than the {table.num_rows:,} that it gives at once",
                        remedy=f"say another `key` than {', '.join(key.names)}: one whose values differ",
                    )
                size *= 2
                continue
            last = tuple(table.column(name)[cut - 1].as_py() for name in key.names)
            yield table.slice(0, cut)
            if ends:
                return

    def _nameless(self, key: Key, names: Sequence[str], number: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows without a key: in one answer, for nothing orders them."""
        where = [f"({' OR '.join(self._words.missing(name) for name in key.names)})"]
        yield from self._one(names, where, number)

    def _at_once(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        yield from self._one(names, [], 1)

    def _one(self, names: Sequence[str], where: Sequence[str], number: int) -> Iterator[pa.RecordBatch]:
        with self.tap.stream(self._select(names, where=where), ALL, self.context.batch) as read:
            for batch in self._typed(read.head.columns, read.batches, names, number):
                number += batch.num_rows
                self.read = number - 1
                yield batch
            if overflows(read.head):
                raise SourceError(
                    f"{self.what} gives {number - 1:,} rows at most, and there are more",
                    remedy="say `key`: an indexed column by which they can be asked for page by page",
                )

    def _of_portions(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        waiting = list(reversed(self._portions or ()))
        number = 1
        while waiting:
            some = waiting.pop()
            page = self.tap.page(self._select(names, where=[self._words.either(self._picked, some)]), ALL)
            if page.overflow:
                if len(some) == 1:
                    raise SourceError(
                        f"{self.what} has more rows of one key than the {page.table.num_rows:,} that it gives at once"
                    )
                half = len(some) // 2
                waiting += [some[half:], some[:half]]
                continue
            yield from self._typed(page.head.columns, page.table.to_batches(), names, number)
            number += page.table.num_rows

    # --- what is asked ------------------------------------------------------------------------------------------

    def _select(self, names: Sequence[str], *, where: Sequence[str] = (), top: int | None = None) -> str:
        """Write a query for real columns, or any one if there is none."""
        conditions = [*self._where, *where]
        if (
            self.adql is not None
            and not conditions
            and top is None
            and list(names) == list(self._columns)
            and self.wanted is None
        ):
            return self.adql
        items = ", ".join(self._words.column(name) for name in self._real(names))
        text = f"SELECT {f'TOP {top} ' if top is not None else ''}{items} {self._from()}"
        return text + (f" WHERE {' AND '.join(conditions)}" if conditions else "")

    def _from(self) -> str:
        return f"FROM {table_name(self.table or '')}" if self.adql is None else f"FROM ({self.adql}) AS hven_source"

    def _real(self, names: Sequence[str]) -> list[str]:
        real = [name for name in dict.fromkeys(names) if name != ROW and name not in FILE_FACTS]
        return real or list(self._columns)[:1]

    def _asked_for(self, names: Sequence[str], key: Key) -> list[Column]:
        return [self._columns[name] for name in self._real([*names, *key.names])]

    def _typed(
        self,
        sent: Sequence[Column],
        batches: Sequence[pa.RecordBatch] | Iterator[pa.RecordBatch],
        names: Sequence[str],
        number: int,
    ) -> Iterator[pa.RecordBatch]:
        """Cast batches to the columns' types."""
        real = self._real(names)
        if len(sent) < len(real):
            raise SourceError(f"{self.what} was asked for {len(real)} columns and gives {len(sent)}")
        for batch in batches:
            arrays = {
                name: no_nan(_cast(batch.column(place), self._columns[name].type.arrow, name, self.what))
                for place, name in enumerate(real)
            }
            yield assemble(names, arrays, batch.num_rows, number, None)
            number += batch.num_rows

    def _counted(self) -> int | None:
        where = f" WHERE {' AND '.join(self._where)}" if self._where else ""
        try:
            found = self.tap.page(f"SELECT COUNT(*) AS hven_rows {self._from()}{where}", 1, small=True).table
            return int(found.column(0)[0].as_py())
        except (HvenError, IndexError, TypeError, ValueError):
            return None

    def _all_there(self, got: int, before: int) -> None:
        """Compare with the service's own count: one that cuts answers without a word must not look like a table that shrank.

        Raises
        ------
        SourceError
            Many rows did not come.
        """
        if got >= before:
            return
        now = self._counted()
        missing = (before if now is None else min(before, now)) - got
        if missing <= 0:
            return
        text = f"{self.what} counts {got + missing:,} rows and gave {got:,}"
        if missing > max(ROUND, got // LATER):
            raise SourceError(text, remedy="say a smaller `page`; the service may cut its answers without saying so")
        if self.context.tell is not None:
            self.context.tell(f"{text}: it may have changed meanwhile")


def _described(column: Column, said: Column | None) -> Column:
    """Fill in what the answer's header does not say."""
    if said is None:
        return column
    more = {
        key: getattr(said, key)
        for key in ("description", "unit", "ucd", "utype")
        if getattr(said, key) and not getattr(column, key)
    }
    return column.having(**more) if more else column


def _cast(values: T, kind: pa.DataType, name: str, what: str) -> T:
    """Cast an answer's values to the first answer's type: a service may write lengths of texts and arrays as they come."""
    if values.type == kind:
        return values
    try:
        found: T = values.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise SourceError(
            f"{what}: the column {name} is {kind} at first, and {values.type} later",
            remedy="sync again; tell the service's owners",
        ) from error
    return found
