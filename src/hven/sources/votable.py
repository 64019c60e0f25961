"""Read VOTable files in all serialisations, one table from each file."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from pydantic import AliasChoices, Field, model_validator

from hven.formats import votable
from hven.model.errors import SourceError, TextPlace, UserError
from hven.model.literal import replace_nan_with_null
from hven.sources import AvailableTable, FileKindSignature, Source, SourceContext, SourceKindTraits
from hven.sources._reading.data_files import DataFile, DecompressedStream, FileOptions, Texts, build_source_batch
from hven.sources._reading.fetched_files import FetchedFile
from hven.sources._reading.file_listing import find_data_files
from hven.sources._reading.file_rows import FileByFileSource, is_exact_widening
from hven.sources._reading.service_client import RequestOptions, RunBudget, ServiceClient, resolve_token_or_login

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from hven.formats import TableMetadata, TableStream
    from hven.model.table import Column


TRAITS = SourceKindTraits(reads_local_files=True)
FILES = FileKindSignature(
    extensions=("vot", "votable", "xml"), leading_pattern=rb"(?is)(?:\xef\xbb\xbf)?\s*(?:<.*?)?<(?:\w+:)?VOTABLE[\s>]"
)


class Options(FileOptions, RequestOptions):
    """What a descriptor may state about VOTables."""

    files: Texts = Field(
        default_factory=list,
        validation_alias=AliasChoices("files", "file"),
        description="A path relative to the descriptor, or a list of paths.",
        examples=["results.vot"],
    )
    url: str | None = Field(
        None,
        pattern=r"^https?://",
        description=(
            "Instead of `files`, the address of a VOTable: a file, or a service that returns a VOTable for a GET "
            "request. A sync fetches the VOTable again if its ETag, time or size has changed."
        ),
        examples=["https://host.example/catalogue.vot"],
    )
    table: int | str | None = Field(
        None,
        description=(
            "The table to read from each file: its number (counted from 0), its ID or its name. Default: the first "
            "table that has rows."
        ),
        examples=["results"],
    )

    @model_validator(mode="after")
    def _check_options(self) -> Options:
        if bool(self.files) == (self.url is not None):
            raise ValueError("give either `files` or `url`")
        return self


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open VOTable files.

    Raises
    ------
    SourceError
        No such file.
    """
    return VotableSource(options, context)


def list_source_tables(options: Mapping[str, Any], context: SourceContext) -> list[AvailableTable]:
    """List the tables of the first file, in order.

    Raises
    ------
    SourceError
        No such file; it is no VOTable.
    """
    files = _find_files(Options.model_validate(dict(options)), context)
    file = files[0]
    stream = file.open_stream()
    try:
        tables_found = votable.list_votable_tables(_open_buffered(stream))
    except UserError as error:
        raise _with_file_location(error, file) from error
    finally:
        stream.close()
    default = next((number for number, item in enumerate(tables_found) if item.has_data and not item.is_meta), 0)
    return [
        AvailableTable(option_value=number, name=item.name, row_count=item.row_count, is_default=number == default)
        for number, item in enumerate(tables_found)
    ]


def _find_files(options: Options, context: SourceContext) -> Sequence[DataFile]:
    if options.url is None:
        return find_data_files(options, context.directory, context.allowed_roots)
    secret = resolve_token_or_login(options.token, options.login, context)
    service = ServiceClient(
        options.url,
        context,
        options=options,
        authorization=secret,
    )
    service.budget = RunBudget(options, service.host, "or request less")
    return [FetchedFile(service)]


class _RawStreamAdapter(io.RawIOBase):
    """A `DecompressedStream` for Python's readers."""

    def __init__(self, stream: DecompressedStream) -> None:
        self.stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self.stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _open_buffered(stream: DecompressedStream) -> BinaryIO:
    return cast("BinaryIO", io.BufferedReader(_RawStreamAdapter(stream), 1 << 20))


class VotableSource(FileByFileSource):
    """The rows of one table in each of the files."""

    def __init__(self, options: Options, context: SourceContext) -> None:
        self.context = context
        self.options = options
        self.files = _find_files(options, context)
        self.read_count = 0

    def list_columns(self) -> list[Column]:
        """List the columns of the FIELDs."""
        return self._columns

    def read_metadata(self) -> TableMetadata:
        """Return the metadata around the rows."""
        return self._table_metadata

    def read_title_and_description(self) -> tuple[str | None, str | None]:
        """Return the table's description, if it has one."""
        return None, self._table_metadata.description

    def _list_column_names(self) -> list[str]:
        return [column.name for column in self._columns]

    @cached_property
    def _columns(self) -> list[Column]:
        if not self._table_metadata.columns:
            remedy = "choose another table with `table:`, if the file has several"
            raise SourceError(
                "the TABLE has no FIELD, so it has no columns", place=TextPlace(file=self.files[0].name), remedy=remedy
            )
        return [column.copy_with(type=column.type.unbounded_text_type) for column in self._table_metadata.columns]

    @cached_property
    def _table_metadata(self) -> TableMetadata:
        stream = self.files[0].open_unhashed()
        try:
            read = self._open_table(stream, self.files[0])
            for deviation in read.deviations:
                self.context.report_deviation(replace(deviation, file=self.files[0].name))
            return read.metadata
        finally:
            stream.close()

    def _open_table(self, stream: DecompressedStream, file: DataFile) -> TableStream:
        try:
            return votable.read_votable(
                _open_buffered(stream), table=self.options.table, batch=self.context.batch_row_limit
            )
        except UserError as error:
            raise _with_file_location(error, file) from error

    def _read_rows(
        self, file: DataFile, column_names: Sequence[str], file_column_names: Sequence[str], _limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        stream = file.open_stream()
        read = None
        try:
            read = self._open_table(stream, file)
            fields = read.metadata.columns
            fields_by_name = {column.name: column for column in fields}
            places = {column.name: number for number, column in enumerate(fields)}
            for column in self._columns:
                field_here = fields_by_name.get(column.name)
                if column.name in column_names and (
                    field_here is None
                    or (
                        field_here.type.arrow != column.type.arrow
                        and not is_exact_widening(field_here.type.arrow, column.type.arrow)
                    )
                ):
                    first_name = self.first_file_name
                    if column.name not in fields_by_name:
                        difference = f"the file has no field {column.name!r}, unlike {first_name}"
                    else:
                        difference = f"the type of field {column.name!r} is different from that in {first_name}"
                    raise SourceError(
                        difference,
                        place=TextPlace(file=file.name),
                        remedy="write a separate source entry for such files, or add the file to `ignore`",
                    )
            wide_types = {
                column.name: column.type.arrow
                for column in self._columns
                if column.name in places
                and is_exact_widening(fields_by_name[column.name].type.arrow, column.type.arrow)
            }
            self._report_further_columns(file, places)
            self._check_same_units(file, fields, file_column_names)
            first = 1
            try:
                for batch in read.read_batches_or_raise_if_truncated():
                    arrays = {name: replace_nan_with_null(batch.column(places[name])) for name in file_column_names}
                    for name in arrays.keys() & wide_types.keys():
                        arrays[name] = arrays[name].cast(wide_types[name])
                    yield build_source_batch(column_names, arrays, batch.num_rows, first, file)
                    first += batch.num_rows
            except UserError as error:
                raise _with_file_location(error, file) from error
            while stream.read(1 << 20):
                pass
            file.read_to_end()
        finally:
            for deviation in read.deviations if read is not None else ():
                if deviation.count is not None:  # what concerns whole columns is reported with the head
                    self.context.report_deviation(replace(deviation, file=file.name))
            stream.close()


def _with_file_location(error: UserError, file: DataFile) -> SourceError:
    if isinstance(error, SourceError) and error.place.file:
        return error
    place = TextPlace(file=file.name, line=error.place.line, column=error.place.column)
    return SourceError(error.message, place=place, remedy=error.remedy)
