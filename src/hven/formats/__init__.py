"""Table formats: the Format contract, and one module for each format, which its short name names.

A format module has `FORMAT`, a :class:`Format`. Writers are generators that never hold more than a batch.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hven.model import Deviation, cache_results, plugins
from hven.model.errors import ParamError, SourceError, format_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    import pyarrow as pa

    from hven.model.table import Column, ColumnGroup, FrameRef


class ErrorDocumentError(SourceError):
    """The document is a service's error answer, or says after its rows that the service broke off.

    It holds the service's words.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class InfoElement:
    """A VOTable INFO, or the nearest thing another format has.

    Attributes
    ----------
    name, value
        Of the INFO.
    content
        Its text.
    id, ucd, utype
        Its further attributes.
    """

    name: str
    value: str
    content: str | None = None
    id: str | None = None
    ucd: str | None = None
    utype: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultStatus:
    """How it ended, known after the last batch.

    Attributes
    ----------
    overflow
        There were more rows than MAXREC.
    error_message
        What broke the rows off, for readers; None: nothing.
    row_count
        How many were written.
    """

    overflow: bool = False
    error_message: str | None = None
    row_count: int = 0


# what the request that is being answered was: set where requests are read, told by each head that is made meanwhile
CURRENT_REQUEST_INFOS: ContextVar[Sequence[InfoElement]] = ContextVar("asked", default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class TableMetadata:
    """Everything about the table but its rows.

    Attributes
    ----------
    id
        XML id of the table.
    description
        Of the table.
    infos
        INFO elements before the table (QUERY_STATUS is written by the format itself).
    frames
        That columns refer to.
    params
        What holds for all rows, with its value; groups may refer to it.
    links
        Addresses about the whole table.
    descriptors_xml
        Service descriptors and other RESOURCEs, as finished XML, for VOTable.
    includes_query_status
        False leaves QUERY_STATUS out (cone search 1.03, plain files).
    enums
        `Table.enums` of the columns' tables: name -> {code: label}.
    request_infos
        Which request it answers, for formats that say it (VOTable); default: the one that is being answered.
    """

    columns: Sequence[Column]
    name: str | None = None
    id: str | None = None
    description: str | None = None
    infos: Sequence[InfoElement] = ()
    frames: Sequence[FrameRef] = ()
    groups: Sequence[ColumnGroup] = ()
    params: Sequence[tuple[Column, object]] = ()
    links: Sequence[str] = ()
    descriptors_xml: Sequence[str] = ()
    includes_query_status: bool = True
    enums: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    request_infos: Sequence[InfoElement] = field(default_factory=CURRENT_REQUEST_INFOS.get)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableStream:
    """A table that was read: what `Format.read` gives.

    Attributes
    ----------
    metadata
        With its columns.
    batches
        The rows, read as they are asked for.
    deviations
        What the reader narrows, drops or reinterprets. The list grows while `batches` is read
        (`hven.model.add_deviation`).
    """

    metadata: TableMetadata
    batches: Iterator[pa.RecordBatch]
    deviations: list[Deviation] = field(default_factory=list)

    @property
    def is_truncated(self) -> bool:
        """Whether the service says that there are more rows (QUERY_STATUS=OVERFLOW, DALI 1.1 section 4.4.1).

        Known when all rows were read.
        """
        return any(
            info.name.upper() == "QUERY_STATUS" and info.value.upper() == "OVERFLOW" for info in self.metadata.infos
        )

    def read_complete_batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows, which must be all that there are.

        Raises
        ------
        SourceError
            The service cut them off, before the first row or at the end.
        """
        row_count = 0
        if not self.is_truncated:
            for batch in self.batches:
                row_count += batch.num_rows
                yield batch
        if self.is_truncated:
            raise SourceError(
                format_message(
                    "the answer was cut off (QUERY_STATUS=OVERFLOW) after {number:,} rows: there are more", row_count
                )
                if row_count
                else "the answer was cut off (QUERY_STATUS=OVERFLOW): there are more rows than it holds",
                remedy="ask for more rows (MAXREC), or for less at once; `kind: tap` asks page by page",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format.

    Attributes
    ----------
    media_types
        The first one is ours; all are understood in RESPONSEFORMAT, without regard to parameters' order.
    extension
        Of files, with the dot.
    write
        ``write(head, batches, end, options) -> Iterator[bytes]``; `end` is called after the last batch. It must yield
        the head before it asks for the first batch's successor, i.e. as soon as the first batch is there. An exception
        while iterating `batches` is the writer's to turn into its trailing mark where a standard has one (VOTable; it
        must then call ``end()``, whose `error` is set), else to let through: behind a mark for people, if it likes.
    aliases
        Further short names.
    write_small_table
        ``at_once(head, rows, options) -> bytes | None``: the whole document with all its rows as tuples of Python
        values, byte for byte what `write` gives of them as a batch; None where only `write` can do it. For a few rows
        Arrow takes longer to get ready than they do.
    write_error
        ``write_error(message) -> bytes``, or None if errors go out as VOTable.
    read
        ``read(file, table=None, batch=...) -> Read``, or None.
    count_unpacked_bytes
        ``promised(file) -> int``: bytes that the values take in memory, counted by the heads of what is packed before
        any is unpacked.
    is_format_of
        ``files(file) -> bool``: whether an open file is of this format, or None.
    ivoids
        Media types, with parameters -> IVOID for TAPRegExt ``outputFormat``.
    alias_options, media_type_options
        Options that go with an alias or with a media type: ``{"votable/td": {"serialization": "TABLEDATA"}}``.
    option_choices
        Options with a closed list of values, in upper case; a media type that asks for another is not ours.
    content_type
        What a request by short name is answered with, if it is not the first media type.
    cannot_signal_overflow
        It cannot say that rows were cut off: the headers of the response do.
    title
        What menus call it; empty: its name in capitals.
    menu_rank
        Where it stands in menus: the formats of low rank come first.
    """

    name: str
    media_types: Sequence[str]
    extension: str
    write: Callable[
        [TableMetadata, Iterator[pa.RecordBatch], Callable[[], ResultStatus], Mapping[str, str]], Iterator[bytes]
    ]
    aliases: Sequence[str] = ()
    write_small_table: Callable[[TableMetadata, Sequence[tuple[Any, ...]], Mapping[str, str]], bytes | None] | None = (
        None
    )
    write_error: Callable[[str], bytes] | None = None
    read: Callable[..., TableStream] | None = None
    count_unpacked_bytes: Callable[[BinaryIO], int] | None = None
    is_format_of: Callable[[BinaryIO], bool] | None = None
    ivoids: Mapping[str, str] = field(default_factory=dict)
    alias_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    media_type_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    option_choices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    content_type: str | None = None
    cannot_signal_overflow: bool = False
    title: str = ""
    menu_rank: int = 100

    @property
    def label(self) -> str:
        """What menus call it."""
        return self.title or self.name.upper()


DEFAULT_FORMAT = "votable"
_MAX_MEDIA_TYPE_CHARACTERS = 200  # characters of a media type with its parameters
MEDIA_TYPE_OPTION = "media_type"  # the option under which `select_format` leaves the Content-Type


def select_format(responseformat: str | None = None, accept: str | None = None) -> tuple[Format, dict[str, str]]:
    """Find the format that a request wants, and the options for its writer (DALI 1.1 section 3.4.3).

    Parameters
    ----------
    responseformat
        RESPONSEFORMAT: a short name (``votable``, ``votable/td``, ``csv``) or a media type with parameters
        (``application/x-votable+xml;serialization=BINARY2``), both without regard to case. None or empty: see `accept`.
    accept
        The Accept header. Used only if it asks for one of our media types by its full name; else VOTable is the
        default.

    Returns
    -------
    The format, and its options; ``options["media_type"]`` is the Content-Type to answer with.

    Raises
    ------
    ParamError
        No format is called so, or it is not written so.
    """
    requested_format = (responseformat or "").strip()
    if requested_format:
        match = _find_format(requested_format)
        if match is None:
            message = f"no RESPONSEFORMAT is called {requested_format!r}"
            remedy = f"known: {', '.join(_list_format_names())}"
            match_without_options = _find_format(requested_format.partition(";")[0])
            if match_without_options is not None and match_without_options[0].option_choices:
                choices_text = "; ".join(
                    f"{name}: {', '.join(values)}" for name, values in match_without_options[0].option_choices.items()
                )
                remedy = f"{match_without_options[0].name} takes {choices_text}; {remedy}"
            raise ParamError(message, name="RESPONSEFORMAT", remedy=remedy)
        return match[0], dict(match[1])
    for media_type in list_accepted_media_types(accept or ""):
        match = _find_format(media_type)
        if match is not None:
            return match[0], dict(match[1])
    return select_format(DEFAULT_FORMAT)


def load_format(name: str) -> Format:
    """Load a format by its name (not by an alias).

    Parameters
    ----------
    name
        ``votable``, ``csv`` ...

    Returns
    -------
    format
        Its record.

    Raises
    ------
    UserError
        No format is called so; the message lists those that are.
    """
    loaded_format: Format = plugins.load_plugin("formats", name).FORMAT
    return loaded_format


def load_formats() -> list[Format]:
    """Load all formats.

    Returns
    -------
    formats
        The default first.
    """
    names = plugins.list_plugins("formats")
    return [load_format(name) for name in sorted(names, key=lambda name: name != DEFAULT_FORMAT)]


def list_menu_entries() -> list[tuple[str, str]]:
    """List the names of all formats, each with what menus call it, in the order of menus.

    Returns
    -------
    entries
        Name and label.
    """
    return [
        (table_format.name, table_format.label)
        for table_format in sorted(load_formats(), key=lambda table_format: (table_format.menu_rank, table_format.name))
    ]


def _list_format_names() -> list[str]:
    return [name for table_format in load_formats() for name in (table_format.name, *table_format.aliases)]


@cache_results(512)
def _find_format(requested_format: str) -> tuple[Format, tuple[tuple[str, str], ...]] | None:
    """Look a short name or media type up."""
    main, *parameter_parts = (part.strip() for part in requested_format.split(";"))
    if "/" in main:
        main = main.replace(" ", "+")  # an address where the + of `x-votable+xml` was not escaped
        requested_format = ";".join(
            [main, *(part for part in requested_format.split(";")[1:] if not part.strip().lower().startswith("q="))]
        )
    if (
        len(requested_format) > _MAX_MEDIA_TYPE_CHARACTERS
        or not requested_format.isascii()
        or not requested_format.isprintable()
    ):
        return None  # it becomes a header
    parameters = {}
    for part in parameter_parts:
        name, _, value = part.partition("=")
        if name.strip().lower() not in {"q", ""}:
            parameters[name.strip().lower()] = value.strip().strip('"')
    main = main.lower()
    for table_format in load_formats():
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
                content_type = ";".join(
                    [table_format.media_types[0], *(f"{name}={value}" for name, value in parameters.items())]
                )
            return table_format, (*options.items(), (MEDIA_TYPE_OPTION, content_type))
    return None


def _has_supported_options(table_format: Format, options: Mapping[str, str]) -> bool:
    return all(
        name not in table_format.option_choices or value.upper() in table_format.option_choices[name]
        for name, value in options.items()
    )


def list_accepted_media_types(accept: str) -> list[str]:
    """List the media types of an Accept header, the most wanted first (RFC 9110 section 12.5.1).

    Parameters
    ----------
    accept
        The header.

    Returns
    -------
    types
        With their parameters but ``q``; wildcards and types that are refused (``q=0``) are left out.
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
    "Format",
    "InfoElement",
    "ResultStatus",
    "TableMetadata",
    "TableStream",
    "list_accepted_media_types",
    "load_format",
    "load_formats",
    "select_format",
]
