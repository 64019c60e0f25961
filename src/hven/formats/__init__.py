"""How rows look as bytes: the Format contract. One file per format; the file's name is its short name.

A format module has `FORMAT`, a :class:`Format`. Writers are generators that never hold more than a batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.model.table import Column, FrameRef, Group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    import pyarrow as pa

PRIVATE = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """A VOTable INFO, or the nearest thing another format has."""

    name: str
    value: str
    content: str | None = None
    id: str | None = None
    ucd: str | None = None
    utype: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How it ended, known after the last batch."""

    overflow: bool = False
    error: str | None = None
    rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Everything about the table but its rows.

    Attributes
    ----------
    infos
        INFO elements before the table (QUERY_STATUS is written by the format itself).
    descriptors
        Service descriptors and other RESOURCEs, as finished XML, for VOTable.
    status
        False leaves QUERY_STATUS out (cone search 1.03, plain files).
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A table that was read: what `Format.read` gives."""

    head: Head
    batches: Iterator[pa.RecordBatch]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format.

    Attributes
    ----------
    media_types
        The first one is ours; all are understood in RESPONSEFORMAT, without regard to parameters' order.
    aliases
        Further short names.
    write
        ``write(head, batches, end, options) -> Iterator[bytes]``; `end` is called after the last batch. It must yield the
        head before it asks for the first batch's successor, i.e. as soon as the first batch is there.
        An exception while iterating `batches` is the writer's to turn into its trailing mark where the format has
        one (it must then call ``end()``, whose `error` is set), else to let through.
    write_error
        ``write_error(message) -> bytes``, or None if errors go out as VOTable.
    read
        ``read(file, table=None, batch=...) -> Read``, or None.
    """

    name: str
    media_types: Sequence[str]
    extension: str
    write: Callable[[Head, Iterator[pa.RecordBatch], Callable[[], End], Mapping[str, str]], Iterator[bytes]]
    aliases: Sequence[str] = ()
    write_error: Callable[[str], bytes] | None = None
    read: Callable[..., Read] | None = None
    files: Callable[[BinaryIO], bool] | None = None
    ivoids: Mapping[str, str] = field(default_factory=dict)


__all__ = ["End", "Format", "Head", "Info", "Read"]
