"""Records of JSON as rows, wherever they come from: files, or pages of a service."""

from __future__ import annotations

import contextlib
import json
import os
from abc import ABC, abstractmethod
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, Field

from hven.model import Deviation, DeviationKind
from hven.model.errors import Place, SourceError
from hven.model.table import Column
from hven.model.types import Type, from_arrow, parse_type
from hven.sources import FILE_FACTS, Context, Reject
from hven.sources._reading.cutting import cut
from hven.sources._reading.filerows import Files
from hven.sources._reading.files import Texts, assemble, check_names, fact_type
from hven.sources._reading.jsoncells import Parsed, Reader
from hven.sources._reading.jsonshape import CELL, LIST, PART, REGION, TEXT, Leaf, Node, leaves
from hven.sources._reading.jsontext import BLOCK
from hven.sources._reading.rows import Nulls, words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from hven.sources._reading.files import DataFile
    from hven.sources._reading.jsontext import Document, Records

SAMPLE = 8 << 20  # bytes of records that are looked at to know the columns
SHOWN = 200  # characters of a value at fault; the whole record is in the rejects file
FEW = 64  # records of each block that are looked at for keys that the sample did not have


def parted(value: object) -> object:
    """Split a dotted path into its names."""
    if isinstance(value, str):
        return [part for part in value.split(".") if part]
    return value


class JsonOptions(BaseModel):
    """What a descriptor may say of records, wherever they come from."""

    whole: Texts = Field(default_factory=list, description="Paths whose objects are left together as JSON text.")
    null: Nulls = Field(
        default_factory=dict, description="Words that stand for no value: a list, or by column name (`*` = all)."
    )
    types: dict[str, str] = Field(
        default_factory=dict,
        description="Types by dotted name, where the guess is wrong or the sample did not have it.",
    )


class JsonTable(ABC):
    """The half of a `Source` that makes rows of records; a kind says where they come from, and shows a sample."""

    options: JsonOptions
    context: Context
    _told: set[str | Deviation]

    @abstractmethod
    def _records(self, limit: int | None) -> Iterator[tuple[Document, Records]]:
        """Read the records, from the first."""

    @property
    @abstractmethod
    def _sampled(self) -> tuple[Node, bool]:
        """What is there in the first records, and whether there is more."""

    @property
    @abstractmethod
    def _title(self) -> str:
        """What is read, for messages: a file's name, a service's address."""

    _element_names: Sequence[str] = ()  # of records that are arrays themselves
    _unread: frozenset[str] = frozenset()  # what a service adds to its records, and is none of them
    _sure = False  # that no key stands twice in an object

    def columns(self) -> list[Column]:
        """List the columns: dotted names, types that the sample fits (or that were said)."""
        return [Column(name=leaf.name, type=_type(leaf)) for leaf in self._leaves]

    def _names(self) -> list[str]:
        return [leaf.name for leaf in self._leaves]

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield rows; small files are put together into one batch."""
        names = check_names(columns, self._names(), self._title)
        # groups end before their reader does: DuckDB waits for ever where a connection is closed under its query
        with self._reading(names) as reader, contextlib.closing(self._parsed(reader, limit)) as groups:
            found = (self._batch(parsed, names) for parsed in self._reported(groups))
            yield from cut(found, self.context.batch, limit)

    @contextlib.contextmanager
    def _reader(self, names: Sequence[str]) -> Iterator[Callable[[Sequence[tuple[Document, Records]]], pa.RecordBatch]]:
        """Read groups of records one by one."""
        with self._reading(names) as reader:

            def read(group: Sequence[tuple[Document, Records]]) -> pa.RecordBatch:
                parsed = reader.parse(group)
                self._report(parsed)
                return self._batch(parsed, names)

            yield read

    def _reading(self, names: Sequence[str]) -> Reader:
        asked = [leaf for leaf in self._leaves if leaf.name in names]
        kinds = {leaf.name: self._kind(leaf) for leaf in asked}
        return Reader(asked, kinds, partial(words_of, self.options.null), self._crs, sure=self._sure)

    def _crs(self, document: Document) -> str | None:  # noqa: ARG002  (a document may say one)
        """Return the frame that a document says of all its geometries."""
        return None

    def _parsed(self, reader: Reader, limit: int | None) -> Generator[Parsed, None, None]:
        """Parse groups of records on all cores, in order, with few of them in memory."""
        workers = max(1, min(os.cpu_count() or 1, 4)) if limit is None else 1
        queue: deque[Future[Parsed]] = deque()
        groups = self._groups(limit)
        with ThreadPoolExecutor(workers, thread_name_prefix="hven-json") as pool:
            try:
                for group in groups:
                    self._look_for_more(group)
                    queue.append(pool.submit(reader.parse, group))
                    while len(queue) > workers:
                        yield queue.popleft().result()
                while queue:
                    yield queue.popleft().result()
            finally:
                groups.close()  # type: ignore[attr-defined]  # a generator
                for future in queue:
                    future.cancel()

    def _groups(self, limit: int | None) -> Iterator[list[tuple[Document, Records]]]:
        """Group records of several files, up to a block."""
        group: list[tuple[Document, Records]] = []
        size = rows = 0
        for file, part in self._records(limit):
            group.append((file, part))
            size += len(part.data)
            rows += len(part.texts)
            if size >= BLOCK or rows >= self.context.batch or (limit is not None and rows >= limit):
                yield group
                group, size, rows = [], 0, 0
        if group:
            yield group

    def _batch(self, parsed: Parsed, names: Sequence[str]) -> pa.RecordBatch:
        facts = [name for name in names if name in FILE_FACTS]
        arrays = dict(parsed.arrays)
        number = np.concatenate([np.arange(part.first, part.first + len(part.texts)) for _, part in parsed.group])[
            parsed.good
        ]
        batch = assemble(
            [name for name in names if name not in FILE_FACTS], arrays, len(number), pa.array(number, pa.int64()), None
        )
        if not facts:
            return batch
        owner = np.repeat(np.arange(len(parsed.group)), [len(part.texts) for _, part in parsed.group])[parsed.good]
        for name in facts:
            values = pa.array([file.fact(name) for file, _ in parsed.group], fact_type(name))
            arrays[name] = values.take(pa.array(owner))
        columns = [arrays[name] if name in arrays else batch.column(name) for name in names]
        return pa.RecordBatch.from_arrays(columns, names=list(names))

    # --- what is told ----------------------------------------------------------------------------------------

    def _reported(self, groups: Iterable[Parsed]) -> Iterator[Parsed]:
        """Report what cannot be read, and go on."""
        for parsed in groups:
            self._report(parsed)
            yield parsed

    def _report(self, parsed: Parsed) -> None:
        for deviation in parsed.deviations:
            self._tell(deviation)
        for at, column, value, reason, text in parsed.rejects:
            file, part, row = parsed.locate(at)
            guessed = column is not None and column not in self.options.types and column not in self.context.wanted
            hint = (
                f"; the type was guessed from a sample: if this value is right, say types: {{{column}: string}}"
                if guessed
                else ""
            )
            where = f"line {part.place(row):,}"
            shown = f"{where}: {value[:SHOWN]}" if value is not None else where
            if self.context.reject is None:
                what = f"column {column}: {value!r} is" if column else "the record is"
                place = Place(file=file.name, line=part.place(row))
                raise SourceError(f"row {part.first + row}: {what} {reason}", place=place)
            number = part.first + row
            self.context.reject(
                Reject(file=file.name, row=number, column=column, value=shown, reason=reason + hint, text=text)
            )

    def _tell(self, told: str | Deviation) -> None:
        """Report what is counted each time, and what concerns a whole column or the source once."""
        if isinstance(told, str) or told.count is None:
            if told in self._told:
                return
            self._told.add(told)
        if self.context.tell is not None:
            self.context.tell(told)

    def _look_for_more(self, group: list[tuple[Document, Records]]) -> None:
        """Report keys that come only after the sample, looked for in some records of each block."""
        if self.context.tell is None or not self._partial:
            return
        node = Node()
        for _, part in group[:: max(1, len(group) // FEW)]:
            for at in range(0, len(part.texts), max(1, len(part.texts) * len(group) // FEW)):
                see(node, part.texts[at])
        known = {leaf.pointer + leaf.inner for leaf in self._leaves}
        for leaf in leaves(node, self.options.whole, self._element_names):
            if (
                leaf.how != TEXT
                and leaf.name not in self._unread
                and leaf.pointer + leaf.inner not in known
                and not any(leaf.pointer.startswith(f"{one}/") for one in known)
            ):
                kind = str(parse_type("string") if leaf.how != CELL else from_arrow(leaf.kind))
                self._tell(
                    Deviation(
                        kind=DeviationKind.DROPPED_COLUMN,
                        column=leaf.name,
                        file=group[0][0].name,
                        message="the key was not in the sample, and is not read",
                        remedy=f"say types: {{{leaf.name}: {kind}}}",
                    )
                )

    # --- what there is ---------------------------------------------------------------------------------------

    def _kind(self, leaf: Leaf) -> pa.DataType:
        """Choose the type a column is read as: what the target wants, if this is a single value."""
        wanted = self.context.wanted.get(leaf.name)
        simple = wanted is not None and (
            pa.types.is_integer(wanted) or pa.types.is_floating(wanted) or pa.types.is_string(wanted)
        )
        return wanted if simple and leaf.how == CELL and leaf.name not in self.options.types else leaf.kind

    @property
    def _partial(self) -> bool:
        return self._sampled[1]

    @cached_property
    def _leaves(self) -> list[Leaf]:
        node = self._sampled[0]
        found = [one for one in leaves(node, self.options.whole, self._element_names) if one.name not in self._unread]
        if not found or not node.kinds:
            raise SourceError(
                "no records to see the columns from",
                place=Place(file=self._title),
                remedy="`records:` names their list",
            )
        said = {name: self._said(name, text) for name, text in self.options.types.items()}
        known = {leaf.name for leaf in found}
        result = [_retyped(leaf, said[leaf.name]) if leaf.name in said else leaf for leaf in found]
        for name, kind in said.items():
            if name not in known:
                pointer = "".join("/" + part for part in name.split("."))
                how = LIST if kind.is_array else CELL
                result.append(_retyped(Leaf(name=name, pointer=pointer, how=how, kind=pa.string()), kind))
        for leaf in result:
            if leaf.mixed is not None and leaf.name not in said:
                message = f"it holds {leaf.mixed}: it is read as text"
                self._tell(Deviation(kind=DeviationKind.TYPE, column=leaf.name, message=message))
            elif leaf.quoted and leaf.name not in said and leaf.name not in self.context.wanted:
                self._tell(
                    Deviation(
                        kind=DeviationKind.TYPE,
                        column=leaf.name,
                        message="its numbers are written as texts: they are read as numbers",
                        remedy=f"say types: {{{leaf.name}: string}} if it is text",
                    )
                )
        return result

    def _said(self, name: str, text: str) -> Type:
        try:
            return parse_type(text)
        except ValueError as error:
            raise SourceError(
                f"types.{name}: {error}", remedy="float64, int32, string, timestamp, float64[*] ..."
            ) from error


class JsonFiles(JsonTable, Files):
    """Records of one or more files."""

    @abstractmethod
    def _look(self, file: DataFile, node: Node) -> Iterator[int]:
        """Add the records of a file to what was seen, and give the bytes of each."""

    def _first_node(self) -> Node:
        """Make the node that records are added to."""
        return Node()

    @property
    def _title(self) -> str:
        return self.files[0].name

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield rows; none where no file was asked for."""
        if self.files:
            yield from super().batches(columns, limit)

    @cached_property
    def _sampled(self) -> tuple[Node, bool]:
        node, left = self._first_node(), SAMPLE
        share = max(SAMPLE // len(self.files), 1 << 12)
        for file in self.files:
            if left <= 0:
                return node, True
            quota = min(left, share) if len(self.files) <= FEW else left
            for size in self._look(file, node):
                quota, left = quota - size, left - size
                if quota <= 0:
                    break
        return node, left <= 0 or sum(file.stat.st_size for file in self.files) > SAMPLE


def see(node: Node, text: pa.Scalar) -> int:
    """Add a record to what was seen; return its size. One that is broken is told when it is read."""
    data: bytes = text.as_buffer().to_pybytes()
    with contextlib.suppress(ValueError, RecursionError):
        node.see(json.loads(data))
    return len(data)


def _type(leaf: Leaf) -> Type:
    if leaf.how == REGION:
        return parse_type("multishape")
    if leaf.how in {LIST, PART}:
        return from_arrow(pa.list_(leaf.kind))
    return from_arrow(leaf.kind)


def _retyped(leaf: Leaf, kind: Type) -> Leaf:
    single = kind.arrow
    how = leaf.how
    if pa.types.is_list(single) or pa.types.is_fixed_size_list(single):
        single = single.value_type
        how = LIST if how in {CELL, TEXT} else how
    elif how in {LIST, PART, REGION}:
        how = TEXT  # an array that shall be text
    elif how == TEXT and not pa.types.is_string(single):
        how = CELL
    return Leaf(name=leaf.name, pointer=leaf.pointer, how=how, kind=single, inner=leaf.inner, drawn=leaf.drawn)
