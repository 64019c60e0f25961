"""Define the contract of table formats. Each format is one module with the format's short name.

A format module defines `FORMAT`, a :class:`TableFormat`. Writers are generators that hold at most one batch.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hven.formats._xml_text import escape_xml, quote_attribute, replace_illegal_characters
from hven.model import ReadDeviation, cache_results, plugins
from hven.model.errors import ParamError, SourceError, format_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    import pyarrow as pa

    from hven.model.table import Column, ColumnGroup, ReferenceFrame, Table


class ErrorDocumentError(SourceError):
    """The document is an error answer of a service, or says after its rows that the service failed.

    The message holds the words of the service.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class InfoElement:
    """A VOTable INFO element, or its nearest equivalent in another format.

    Attributes
    ----------
    name, value
        Name and value of the element.
    content
        Text of the element.
    id, ucd, utype
        Further attributes of the element.
    """

    name: str
    value: str
    content: str | None = None
    id: str | None = None
    ucd: str | None = None
    utype: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultStatus:
    """How an answer ended, which is known after the last batch.

    Attributes
    ----------
    overflow
        There were more rows than MAXREC.
    error_message
        Why the rows broke off, in words for the user; None if they did not.
    row_count
        Number of rows that were written.
    """

    overflow: bool = False
    error_message: str | None = None
    row_count: int = 0


# Describes the request that is being answered, when that is needed. The server sets it when it reads a request; each
# `TableMetadata` that is created meanwhile calls it.
CURRENT_REQUEST_INFOS: ContextVar[Callable[[], Sequence[InfoElement]]] = ContextVar("asked", default=tuple)


def describe_current_request() -> Sequence[InfoElement]:
    """Describe the request that is being answered; outside of requests, return an empty sequence."""
    return CURRENT_REQUEST_INFOS.get()()


@dataclass(frozen=True, slots=True, kw_only=True)
class TableMetadata:
    """Everything about a table except its rows.

    Attributes
    ----------
    id
        XML id of the table.
    description
        Description of the table.
    infos
        INFO elements before the table; the format itself writes QUERY_STATUS.
    frames
        Reference frames that columns refer to.
    params
        Values that hold for all rows, each with its column; groups may refer to them.
    links
        Addresses of documents about the whole table.
    descriptors_xml
        Service descriptors and other RESOURCEs for VOTable, as complete XML.
    includes_query_status
        False leaves QUERY_STATUS out (cone search 1.03, plain files).
    enums
        `Table.enums` of the columns' tables: name -> {code: label}.
    request_infos
        The request that the table answers, for formats that state it (VOTable). Default: the current request.
    tables
        The published tables that columns come from.
    head_document
        Of a table that was read: the metadata of its document, as an XML document without rows; empty: the format has
        no such document.
    """

    columns: Sequence[Column]
    name: str | None = None
    id: str | None = None
    description: str | None = None
    infos: Sequence[InfoElement] = ()
    frames: Sequence[ReferenceFrame] = ()
    groups: Sequence[ColumnGroup] = ()
    params: Sequence[tuple[Column, object]] = ()
    links: Sequence[str] = ()
    descriptors_xml: Sequence[str] = ()
    includes_query_status: bool = True
    enums: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    request_infos: Sequence[InfoElement] = field(default_factory=describe_current_request)
    tables: Sequence[Table] = ()
    head_document: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableStream:
    """A table that `TableFormat.read` opened.

    Attributes
    ----------
    metadata
        Metadata with the columns.
    batches
        The rows, read on demand.
    deviations
        What the reader narrows, drops or reinterprets. The list grows while `batches` is read
        (`hven.model.add_deviation`).
    """

    metadata: TableMetadata
    batches: Iterator[pa.RecordBatch]
    deviations: list[ReadDeviation] = field(default_factory=list)

    @property
    def is_truncated(self) -> bool:
        """Whether the service says that there are more rows (QUERY_STATUS=OVERFLOW, DALI 1.1 section 4.4.1).

        The answer is final when all rows were read.
        """
        for info in self.metadata.infos:
            if info.name.upper() == "QUERY_STATUS" and info.value.upper() == "OVERFLOW":
                return True
        return False

    def read_batches_or_raise_if_truncated(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows, and require that they are all rows there are.

        Raises
        ------
        SourceError
            The service cut the rows off, before the first row or at the end.
        """
        row_count = 0
        if not self.is_truncated:
            for batch in self.batches:
                row_count += batch.num_rows
                yield batch
        if self.is_truncated:
            message = "the result was truncated (QUERY_STATUS=OVERFLOW), so rows are missing"
            if row_count:
                message = format_message(
                    "the result was truncated (QUERY_STATUS=OVERFLOW) after {number:,} rows, but more rows exist",
                    row_count,
                )
            remedy = (
                "raise MAXREC, request a smaller part of the data, or use `kind: tap`, which requests rows page by page"
            )
            raise SourceError(message, remedy=remedy)


if TYPE_CHECKING:
    Batches = Iterator[pa.RecordBatch]
    Options = Mapping[str, str]
    TableWriter = Callable[[TableMetadata, Batches, Callable[[], ResultStatus], Options], Iterator[bytes]]
    SmallTableWriter = Callable[[TableMetadata, Sequence[tuple[Any, ...]], Options], bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFormat:
    """One table format.

    Attributes
    ----------
    media_types
        Media types that RESPONSEFORMAT accepts, with parameters in any order. The first is the one that answers carry.
    extension
        Extension of files, without the dot.
    write
        ``write(head, batches, end, options) -> Iterator[bytes]``; the writer calls `end` after the last batch. It must
        yield the head as soon as the first batch is there, before it asks for the second. When iterating `batches`
        raises an exception, the writer states the error in its trailing mark if the standard has one (VOTable; it must
        then call ``end()``, whose `error` is set). Otherwise it lets the exception through, and may write a message
        for people first.
    aliases
        Further short names.
    write_small_table
        ``at_once(head, rows, options) -> bytes | None``: write the whole document, with all its rows as tuples of
        Python values. The bytes are those that `write` makes of the same rows; None where only `write` can do it. For
        a few rows, preparing Arrow takes longer than writing them.
    write_error
        ``write_error(message) -> bytes``, or None if errors go out as VOTable.
    read
        ``read(file, table=None, batch=...) -> Read``, or None.
    count_unpacked_bytes
        ``promised(file) -> int``: count the bytes that the values take in memory, from the headers of the compressed
        parts, before any part is decompressed.
    ivoids
        Media types, with parameters -> IVOID for TAPRegExt ``outputFormat``.
    alias_options, media_type_options
        Options that an alias or a media type implies: ``{"votable/td": {"serialization": "TABLEDATA"}}``.
    option_choices
        Options with a closed list of values; case does not matter. A media type with any other value does not match.
    content_type
        Content-Type of an answer to a request by short name, if it is not the first media type.
    cannot_signal_overflow
        The format cannot say that rows were cut off; the headers of the response say it instead.
    title
        Name in menus; empty: the short name in capitals.
    menu_rank
        Position in menus: low ranks come first.
    reading_example
        For a binary format: Python that reads a file ``answer.EXTENSION``; its last line is an expression with the
        rows. The reference shows it with what it gives.
    """

    name: str
    media_types: Sequence[str]
    extension: str
    write: TableWriter
    aliases: Sequence[str] = ()
    write_small_table: SmallTableWriter | None = None
    write_error: Callable[[str], bytes] | None = None
    read: Callable[..., TableStream] | None = None
    count_unpacked_bytes: Callable[[BinaryIO], int] | None = None
    ivoids: Mapping[str, str] = field(default_factory=dict)
    alias_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    media_type_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    option_choices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    content_type: str | None = None
    cannot_signal_overflow: bool = False
    title: str = ""
    menu_rank: int = 100
    reading_example: str = ""

    @property
    def label(self) -> str:
        """The name that menus show."""
        return self.title or self.name.upper()


DEFAULT_FORMAT = "votable"
_MAX_MEDIA_TYPE_CHARACTERS = 200  # of a media type with its parameters
MEDIA_TYPE_OPTION = "media_type"  # the option under which `select_format` leaves the Content-Type


def select_format(responseformat: str | None = None, accept: str | None = None) -> tuple[TableFormat, dict[str, str]]:
    """Select the format that a request asks for, and the options of its writer (DALI 1.1 section 3.4.3).

    Parameters
    ----------
    responseformat
        RESPONSEFORMAT: a short name (``votable``, ``votable/td``, ``csv``) or a media type with parameters
        (``application/x-votable+xml;serialization=BINARY2``); case does not matter. None or empty: see `accept`.
    accept
        The Accept header. It counts only if it names one of our media types in full; otherwise VOTable is the
        default.

    Returns
    -------
    The format, and its options; ``options["media_type"]`` is the Content-Type of the answer.

    Raises
    ------
    ParamError
        No format has this name, or the format does not have this option.
    """
    requested_format = (responseformat or "").strip()
    if requested_format:
        match = _find_format(requested_format)
        if match is None:
            raise _create_unknown_format_error(requested_format)
        return match[0], dict(match[1])
    table_format, options = _find_accepted_format(accept or "")
    return table_format, dict(options)


@cache_results(512)
def _find_accepted_format(accept: str) -> tuple[TableFormat, tuple[tuple[str, str], ...]]:
    """Find the format that an Accept header wants most; the default if it names none of ours."""
    for media_type in list_accepted_media_types(accept):
        match = _find_format(media_type)
        if match is not None:
            return match
    default_format, default_options = select_format(DEFAULT_FORMAT)
    return default_format, tuple(default_options.items())


def _create_unknown_format_error(requested_format: str) -> ParamError:
    """Create the error about an unknown RESPONSEFORMAT, with the names and options that exist."""
    remedy = f"use one of {', '.join(_list_format_names())}"
    format_name = requested_format.partition(";")[0]
    match = _find_format(format_name)
    if match is not None and match[0].option_choices:
        table_format = match[0]
        choices = []
        for name, values in table_format.option_choices.items():
            values_text = ", ".join(values)
            choices.append(f"{name}: {values_text}")
        remedy = f"use the options of {table_format.name} ({'; '.join(choices)}), or {remedy}"
    return ParamError(f"there is no RESPONSEFORMAT {requested_format!r}", name="RESPONSEFORMAT", remedy=remedy)


def load_format(name: str) -> TableFormat:
    """Load a format by its name (not by an alias).

    Parameters
    ----------
    name
        Short name of the format: ``votable``, ``csv`` ...

    Returns
    -------
    format
        Record of the format.

    Raises
    ------
    UserError
        No format has this name; the message lists the names.
    """
    loaded_format: TableFormat = plugins.load_plugin("formats", name).FORMAT
    return loaded_format


def load_formats() -> list[TableFormat]:
    """Load all formats.

    Returns
    -------
    formats
        All formats, the default first.
    """
    names = plugins.list_plugins("formats")
    default_first = sorted(names, key=lambda name: name != DEFAULT_FORMAT)
    return [load_format(name) for name in default_first]


def list_format_labels() -> list[tuple[str, str]]:
    """List the names of all formats with their labels, in the order of menus.

    Returns
    -------
    entries
        Name and label of each format.
    """
    table_formats = sorted(load_formats(), key=lambda table_format: (table_format.menu_rank, table_format.name))
    return [(table_format.name, table_format.label) for table_format in table_formats]


def _list_format_names() -> list[str]:
    names: list[str] = []
    for table_format in load_formats():
        names += (table_format.name, *table_format.aliases)
    return names


@cache_results(512)
def _find_format(requested_format: str) -> tuple[TableFormat, tuple[tuple[str, str], ...]] | None:
    """Find the format and the options that a short name or media type stands for."""
    main, *parameter_parts = (part.strip() for part in requested_format.split(";"))
    if "/" in main:
        main = main.replace(" ", "+")  # an address where the + of `x-votable+xml` was not escaped
        raw_parameters = requested_format.split(";")[1:]
        kept_parameters = [part for part in raw_parameters if not part.strip().lower().startswith("q=")]
        requested_format = ";".join([main, *kept_parameters])
    is_too_long = len(requested_format) > _MAX_MEDIA_TYPE_CHARACTERS
    if is_too_long or not requested_format.isascii() or not requested_format.isprintable():
        return None  # the text becomes a header of the response
    parameters = {}
    for part in parameter_parts:
        name, _, value = part.partition("=")
        parameter_name = name.strip().lower()
        if parameter_name not in {"q", ""}:
            parameters[parameter_name] = value.strip().strip('"')
    main = main.lower()
    is_name = main in plugins.list_plugins("formats")  # then the other formats need not be imported
    for table_format in [load_format(main)] if is_name else load_formats():
        if main in table_format.media_types:
            options = {**table_format.media_type_options.get(main, {}), **parameters}
            if not _has_supported_options(table_format, options):
                return None
            return table_format, (*options.items(), (MEDIA_TYPE_OPTION, requested_format))
        if main in (table_format.name, *table_format.aliases):
            options = {**table_format.alias_options.get(main, {}), **parameters}
            if not _has_supported_options(table_format, options):
                return None
            content_type = table_format.content_type or table_format.media_types[0]
            if parameters:
                assignments = [f"{name}={value}" for name, value in parameters.items()]
                content_type = ";".join([table_format.media_types[0], *assignments])
            return table_format, (*options.items(), (MEDIA_TYPE_OPTION, content_type))
    return None


def _has_supported_options(table_format: TableFormat, options: Mapping[str, str]) -> bool:
    for name, value in options.items():
        choices = table_format.option_choices.get(name)
        if choices is not None and value.upper() not in map(str.upper, choices):
            return False
    return True


def list_accepted_media_types(accept: str) -> list[str]:
    """List the media types of an Accept header, the most wanted first (RFC 9110 section 12.5.1).

    Parameters
    ----------
    accept
        Value of the header.

    Returns
    -------
    types
        Media types with their parameters except ``q``. Wildcards and refused types (``q=0``) are left out.
    """
    ranked_types = []
    for number, item in enumerate(accept.split(",")):
        name, *parameter_parts = (part.strip() for part in item.split(";"))
        quality = 1.0
        type_parts = [name]
        for part in parameter_parts:
            if part.lower().startswith("q="):
                try:
                    quality = float(part[2:])
                except ValueError:
                    quality = 0.0
            else:
                type_parts.append(part)
        if name and "*" not in name and quality > 0:
            ranked_types.append((-quality, number, ";".join(type_parts)))
    return [item for _, _, item in sorted(ranked_types)]


__all__ = [
    "ErrorDocumentError",
    "InfoElement",
    "ResultStatus",
    "TableFormat",
    "TableMetadata",
    "TableStream",
    "escape_xml",
    "list_accepted_media_types",
    "load_format",
    "load_formats",
    "quote_attribute",
    "replace_illegal_characters",
    "select_format",
]
