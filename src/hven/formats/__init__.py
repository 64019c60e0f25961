"""How rows look as bytes: the Format contract. One file per format; the file's name is its short name.

A format module has `FORMAT`, a :class:`Format`. Writers are generators that never hold more than a batch.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hven.model import Deviation, cached, plugins
from hven.model.errors import ParamError, SourceError, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    import pyarrow as pa

    from hven.model.table import Column, FrameRef, Group


class Refused(SourceError):
    """The document is a service's error answer, or says after its rows that the service broke off; it holds the service's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
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
class End:
    """How it ended, known after the last batch.

    Attributes
    ----------
    overflow
        There were more rows than MAXREC.
    error
        What broke the rows off, for readers; None: nothing.
    rows
        How many were written.
    """

    overflow: bool = False
    error: str | None = None
    rows: int = 0


# what the request that is being answered was: set where requests are read, told by each head that is made meanwhile
ASKED: ContextVar[Sequence[Info]] = ContextVar("asked", default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
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
    descriptors
        Service descriptors and other RESOURCEs, as finished XML, for VOTable.
    status
        False leaves QUERY_STATUS out (cone search 1.03, plain files).
    enums
        `Table.enums` of the columns' tables: name -> {code: label}.
    asked
        Which request it answers, for formats that say it (VOTable); default: the one that is being answered.
    """

    columns: Sequence[Column]
    name: str | None = None
    id: str | None = None
    description: str | None = None
    infos: Sequence[Info] = ()
    frames: Sequence[FrameRef] = ()
    groups: Sequence[Group] = ()
    params: Sequence[tuple[Column, object]] = ()
    links: Sequence[str] = ()
    descriptors: Sequence[str] = ()
    status: bool = True
    enums: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    asked: Sequence[Info] = field(default_factory=ASKED.get)


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A table that was read: what `Format.read` gives.

    Attributes
    ----------
    head
        With its columns.
    batches
        The rows, read as they are asked for.
    deviations
        What the reader narrows, drops or reinterprets. The list grows while `batches` is read (`hven.model.add_deviation`).
    """

    head: Head
    batches: Iterator[pa.RecordBatch]
    deviations: list[Deviation] = field(default_factory=list)

    @property
    def is_truncated(self) -> bool:
        """Whether the service says that there are more rows (QUERY_STATUS=OVERFLOW, DALI 1.1 section 4.4.1); known when all rows were read."""
        return any(info.name.upper() == "QUERY_STATUS" and info.value.upper() == "OVERFLOW" for info in self.head.infos)

    def whole_batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows, which must be all that there are.

        Raises
        ------
        SourceError
            The service cut them off, before the first row or at the end.
        """
        number = 0
        if not self.is_truncated:
            for batch in self.batches:
                number += batch.num_rows
                yield batch
        if self.is_truncated:
            raise SourceError(
                say("the answer was cut off (QUERY_STATUS=OVERFLOW) after {number:,} rows: there are more", number)
                if number
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
        ``write(head, batches, end, options) -> Iterator[bytes]``; `end` is called after the last batch. It must yield the
        head before it asks for the first batch's successor, i.e. as soon as the first batch is there.
        An exception while iterating `batches` is the writer's to turn into its trailing mark where a standard has
        one (VOTable; it must then call ``end()``, whose `error` is set), else to let through: behind a mark for people, if it likes.
    aliases
        Further short names.
    at_once
        ``at_once(head, rows, options) -> bytes | None``: the whole document with all its rows as tuples of Python values, byte for byte what
        `write` gives of them as a batch; None where only `write` can do it. For a few rows Arrow takes longer to get ready than they do.
    write_error
        ``write_error(message) -> bytes``, or None if errors go out as VOTable.
    read
        ``read(file, table=None, batch=...) -> Read``, or None.
    promised
        ``promised(file) -> int``: bytes that the values take in memory, counted by the heads of what is packed before any is unpacked.
    files
        ``files(file) -> bool``: whether an open file is of this format, or None.
    ivoids
        Media types, with parameters -> IVOID for TAPRegExt ``outputFormat``.
    by_alias, by_media_type
        Options that go with an alias or with a media type: ``{"votable/td": {"serialization": "TABLEDATA"}}``.
    choices
        Options with a closed list of values, in upper case; a media type that asks for another is not ours.
    content_type
        What a request by short name is answered with, if it is not the first media type.
    mute
        It cannot say that rows were cut off: the headers of the response do.
    title
        What menus call it; empty: its name in capitals.
    menu_rank
        Where it stands in menus: the formats of low rank come first.
    """

    name: str
    media_types: Sequence[str]
    extension: str
    write: Callable[[Head, Iterator[pa.RecordBatch], Callable[[], End], Mapping[str, str]], Iterator[bytes]]
    aliases: Sequence[str] = ()
    at_once: Callable[[Head, Sequence[tuple[Any, ...]], Mapping[str, str]], bytes | None] | None = None
    write_error: Callable[[str], bytes] | None = None
    read: Callable[..., Read] | None = None
    promised: Callable[[BinaryIO], int] | None = None
    files: Callable[[BinaryIO], bool] | None = None
    ivoids: Mapping[str, str] = field(default_factory=dict)
    by_alias: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    by_media_type: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    content_type: str | None = None
    mute: bool = False
    title: str = ""
    menu_rank: int = 100

    @property
    def label(self) -> str:
        """What menus call it."""
        return self.title or self.name.upper()


DEFAULT = "votable"
_LONGEST = 200  # characters of a media type with its parameters
MEDIA_TYPE = "media_type"  # the option under which `select` leaves the Content-Type


def select(responseformat: str | None = None, accept: str | None = None) -> tuple[Format, dict[str, str]]:
    """Find the format that a request wants, and the options for its writer (DALI 1.1 section 3.4.3).

    Parameters
    ----------
    responseformat
        RESPONSEFORMAT: a short name (``votable``, ``votable/td``, ``csv``) or a media type with parameters
        (``application/x-votable+xml;serialization=BINARY2``), both without regard to case. None or empty: see `accept`.
    accept
        The Accept header. Used only if it asks for one of our media types by its full name; else VOTable is the default.

    Returns
    -------
    The format, and its options; ``options["media_type"]`` is the Content-Type to answer with.

    Raises
    ------
    ParamError
        No format is called so, or it is not written so.
    """
    wanted = (responseformat or "").strip()
    if wanted:
        found = _find(wanted)
        if found is None:
            message = f"no RESPONSEFORMAT is called {wanted!r}"
            remedy = f"known: {', '.join(_known())}"
            if (plain := _find(wanted.partition(";")[0])) is not None and plain[0].choices:
                said = "; ".join(f"{name}: {', '.join(values)}" for name, values in plain[0].choices.items())
                remedy = f"{plain[0].name} takes {said}; {remedy}"
            raise ParamError(message, name="RESPONSEFORMAT", remedy=remedy)
        return found[0], dict(found[1])
    for asked in list_accepted(accept or ""):
        found = _find(asked)
        if found is not None:
            return found[0], dict(found[1])
    return select(DEFAULT)


def load(name: str) -> Format:
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
    found: Format = plugins.load("formats", name).FORMAT
    return found


def offered() -> list[Format]:
    """Load all formats.

    Returns
    -------
    formats
        The default first.
    """
    names = plugins.names("formats")
    return [load(name) for name in sorted(names, key=lambda name: name != DEFAULT)]


def menu_entries() -> list[tuple[str, str]]:
    """List the names of all formats, each with what menus call it, in the order of menus.

    Returns
    -------
    entries
        Name and label.
    """
    return [(one.name, one.label) for one in sorted(offered(), key=lambda one: (one.menu_rank, one.name))]


def _known() -> list[str]:
    return [name for one in offered() for name in (one.name, *one.aliases)]


@cached(512)
def _find(asked: str) -> tuple[Format, tuple[tuple[str, str], ...]] | None:
    """Look a short name or media type up."""
    main, *rest = (part.strip() for part in asked.split(";"))
    if "/" in main:
        main = main.replace(" ", "+")  # an address where the + of `x-votable+xml` was not escaped
        asked = ";".join([main, *(part for part in asked.split(";")[1:] if not part.strip().lower().startswith("q="))])
    if len(asked) > _LONGEST or not asked.isascii() or not asked.isprintable():
        return None  # it becomes a header
    parameters = {}
    for part in rest:
        name, _, value = part.partition("=")
        if name.strip().lower() not in {"q", ""}:
            parameters[name.strip().lower()] = value.strip().strip('"')
    main = main.lower()
    for one in offered():
        if main in one.media_types:
            chosen = {**one.by_media_type.get(main, {}), **parameters}
            if not _supported(one, chosen):
                return None
            return one, (*chosen.items(), (MEDIA_TYPE, asked))
        if main in (one.name, *one.aliases):
            chosen = {**one.by_alias.get(main, {}), **parameters}
            if not _supported(one, chosen):
                return None
            said = one.content_type or one.media_types[0]
            if parameters:
                said = ";".join([one.media_types[0], *(f"{name}={value}" for name, value in parameters.items())])
            return one, (*chosen.items(), (MEDIA_TYPE, said))
    return None


def _supported(one: Format, chosen: Mapping[str, str]) -> bool:
    return all(name not in one.choices or value.upper() in one.choices[name] for name, value in chosen.items())


def list_accepted(accept: str) -> list[str]:
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
    asked = []
    for number, item in enumerate(accept.split(",")):
        name, *rest = (part.strip() for part in item.split(";"))
        quality = 1.0
        kept = [name]
        for part in rest:
            if part.lower().startswith("q="):
                try:
                    quality = float(part[2:])
                except ValueError:
                    quality = 0.0
            else:
                kept.append(part)
        if name and "*" not in name and quality > 0:
            asked.append((-quality, number, ";".join(kept)))
    return [item for _, _, item in sorted(asked)]


__all__ = ["End", "Format", "Head", "Info", "Read", "Refused", "list_accepted", "load", "offered", "select"]
