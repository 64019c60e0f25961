"""VOTable files, all serialisations: one table of each."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from pydantic import AliasChoices, Field, model_validator

from hven.formats import votable
from hven.model.errors import Place, SourceError, UserError
from hven.sources import Context, FileKind, Offer, Source
from hven.sources._reading.cells import no_nan
from hven.sources._reading.fetched import FetchedFile
from hven.sources._reading.filerows import FileRows
from hven.sources._reading.files import DataFile, FileOptions, Stream, Texts, assemble
from hven.sources._reading.listing import data_files
from hven.sources._reading.service import AskedOptions, Budget, Service, authorization

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from hven.formats import Head, Read
    from hven.model.table import Column


FILES = FileKind(endings=("vot", "votable", "xml"), begins=rb"(?is)(?:\xef\xbb\xbf)?\s*(?:<.*?)?<(?:\w+:)?VOTABLE[\s>]")


class Options(FileOptions, AskedOptions):
    """What a descriptor may say of VOTables."""

    files: Texts = Field(
        default_factory=list,
        validation_alias=AliasChoices("files", "file"),
        description="File or files, relative to the descriptor.",
    )
    url: str | None = Field(None, pattern=r"^https?://", description="Address of one VOTable, instead of `files`: whatever gives one by GET. A sync fetches it if its ETag, time or size is another.")  # fmt: skip
    table: int | str | None = Field(
        None, description="Which table of each file: its number from 0, its ID or its name; default the first."
    )

    @model_validator(mode="after")
    def _one_of_each(self) -> Options:
        if bool(self.files) == (self.url is not None):
            raise ValueError("give either `files` or `url`")
        return self


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open VOTable files.

    Raises
    ------
    SourceError
        No such file.
    """
    return Tables(options, context)


def tables(options: Mapping[str, Any], context: Context) -> list[Offer]:
    """List the tables of the first file, in its order.

    Raises
    ------
    SourceError
        No such file; it is no VOTable.
    """
    file = _files(Options.model_validate(dict(options)), context)[0]
    stream = file.open()
    try:
        found = votable.tables(_buffered(stream))
    except UserError as error:
        raise _located(error, file) from error
    finally:
        stream.close()
    default = next((number for number, item in enumerate(found) if item.data and not item.meta), 0)
    return [
        Offer(choice=number, name=item.name, rows=item.rows, default=number == default)
        for number, item in enumerate(found)
    ]


def _files(options: Options, context: Context) -> Sequence[DataFile]:
    if options.url is None:
        return data_files(options, context.directory, context.roots)
    secret = authorization(options.token, context, "Bearer") or authorization(options.login, context, "Basic")
    service = Service(
        options.url, context, seconds=options.seconds, tries=options.tries, rate=options.rate, secret=secret
    )
    service.budget = Budget(options, service.host, "or ask for less")
    return [FetchedFile(service)]


class _Raw(io.RawIOBase):
    """A `Stream` as Python's readers want it."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self.stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _buffered(stream: Stream) -> BinaryIO:
    return cast("BinaryIO", io.BufferedReader(_Raw(stream), 1 << 20))


class Tables(FileRows):
    """The rows of one table in each of the files."""

    def __init__(self, options: Options, context: Context) -> None:
        self.context, self.options = context, options
        self.files, self.read = _files(options, context), 0

    def columns(self) -> list[Column]:
        """List the FIELDs."""
        return self._columns

    def head(self) -> Head:
        """Return what is said around the rows."""
        return self._head

    def about(self) -> tuple[str | None, str | None]:
        """Return the table's description, if it has one."""
        return None, self._head.description

    def _names(self) -> list[str]:
        return [column.name for column in self._columns]

    @cached_property
    def _columns(self) -> list[Column]:
        if not self._head.columns:
            remedy = "it is a document of parameters or a reference: `table:` chooses another, if there is one"
            raise SourceError(
                "the TABLE has no FIELD, so there are no rows", place=Place(file=self.files[0].name), remedy=remedy
            )
        return [column.having(type=column.type.without_text_bound) for column in self._head.columns]

    @cached_property
    def _head(self) -> Head:
        stream = self.files[0].glance()
        try:
            read = self._read(stream, self.files[0])
            for deviation in read.deviations:
                self.context.report(replace(deviation, file=self.files[0].name))
            return read.head
        finally:
            stream.close()

    def _read(self, stream: Stream, file: DataFile) -> Read:
        try:
            return votable.read(_buffered(stream), table=self.options.table, batch=self.context.batch)
        except UserError as error:
            raise _located(error, file) from error

    def _rows(
        self, file: DataFile, names: Sequence[str], real: Sequence[str], _limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        stream, read = file.open(), None
        try:
            read = self._read(stream, file)
            fields = read.head.columns
            there = {column.name: column for column in fields}
            places = {column.name: number for number, column in enumerate(fields)}
            for column in self._columns:
                if column.name in names and (
                    column.name not in there or there[column.name].type.arrow != column.type.arrow
                ):
                    has = "no field" if column.name not in there else "another type of field"
                    raise SourceError(
                        f"{has} {column.name!r} than in {self.files[0].name}",
                        place=Place(file=file.name),
                        remedy="`ignore:` the file",
                    )
            self._same_units(file, fields, real)
            first = 1
            try:
                for batch in read.whole_batches():
                    arrays = {name: no_nan(batch.column(places[name])) for name in real}
                    yield assemble(names, arrays, batch.num_rows, first, file)
                    first += batch.num_rows
            except UserError as error:
                raise _located(error, file) from error
            while stream.read(1 << 20):
                pass
            file.finish()
        finally:
            for deviation in read.deviations if read is not None else ():
                if deviation.count is not None:  # what concerns whole columns is reported with the head
                    self.context.report(replace(deviation, file=file.name))
            stream.close()


def _located(error: UserError, file: DataFile) -> SourceError:
    if isinstance(error, SourceError) and error.place.file:
        return error
    place = Place(file=file.name, line=error.place.line, column=error.place.column)
    return SourceError(error.message, place=place, remedy=error.remedy)
