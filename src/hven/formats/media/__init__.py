"""The files behind the rows: what is in them, read by windows. One file per medium, whose name is the file's.

A medium's module has `MEDIUM`, a :class:`Medium`. It opens a file as a `Product` of parts: arrays (`Array`), read a window at a time, and
tables (`Rows`), read as Arrow batches; nothing is read before it is asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.formats.media import _rotated as rotated
from hven.formats.media import _selecting as selecting
from hven.formats.media._answered import open_answered
from hven.formats.media._conversions import as_fits, as_votable
from hven.formats.media._cuts import Cut, cut
from hven.formats.media._distant import Distant, Place
from hven.formats.media._labels import LONGEST, parsed
from hven.formats.media._lines import open_lines
from hven.formats.media._product import Array, Axis, Card, Part, Product, Rows
from hven.formats.media._rasters import open_raster
from hven.formats.media._samples import Samples
from hven.formats.media._spectral import times, wavelengths
from hven.formats.media._windows import Selection, window
from hven.model import plugins
from hven.model.errors import SourceError, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hven.formats.media._answered import Ask


HEAD = 8192  # bytes by which a file's medium is told
_RASTERS = re.compile(r"(?i).*\.(tiff?|gtiff?|jp2|j2k|jpx)")
MOST = 1000  # parts of a file that are looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Medium:
    """A kind of product file: ``MEDIUM`` of its module.

    Attributes
    ----------
    name
        As its module's.
    title
        For people.
    media_types
        The usual one first.
    endings
        Of files' names, in lower case: ``fits``.
    begins
        A regular expression for how files begin; empty: only their names tell.
    open
        Opens a file, on the disk or on another server (`Distant`); raises `SourceError` where it is none or damaged.
    beside
        It is read together with files beside it (a label): only files have that.
    refines
        The medium whose files some of its are, and what makes a product of its own of an open one of that; None where it is none.
    head
        Reads what is said of a file as a whole, where that is less work than to open it.
    """

    name: str
    title: str
    media_types: tuple[str, ...]
    endings: tuple[str, ...]
    begins: bytes = b""
    open: Callable[[Place], Product]
    beside: bool = False
    refines: tuple[str, Callable[[Product], Product | None]] | None = None
    head: Callable[[Place], Iterable[Card]] | None = None


def media() -> Mapping[str, Medium]:
    """List every medium, by name: built-in and plugged in.

    Returns
    -------
    media
        Those whose libraries are installed.
    """
    found: dict[str, Medium] = plugins.records("media")
    return found


def medium_of(name: str, head: bytes = b"") -> Medium | None:
    """Tell the medium of a file.

    Parameters
    ----------
    name
        Of the file.
    head
        Its first `HEAD` bytes; empty: only its name is asked.

    Returns
    -------
    medium
        None: it is none that is known. What a file begins with counts for more than its name.
    """
    words = name.lower().rsplit("/", 1)[-1].split(".")[1:]
    found = []
    for one in media().values():
        named = any(".".join(words[at:]) in one.endings for at in range(len(words)))
        begun = re.match(one.begins, head, re.DOTALL) if one.begins and head else None
        if begun or (named and not (head and one.begins)):
            # of several, the one that says more of the beginning: OIFITS before FITS
            found.append(((begun.end() if begun else 0, named), one))
    return max(found, key=lambda pair: pair[0])[1] if found else None


def read_label(body: bytes) -> list[Card]:
    """Read a label of PDS3 or ISIS that stands for itself.

    Parameters
    ----------
    body
        In PVL or ODL, up to its END.

    Returns
    -------
    cards
        Keywords, those of groups with their names before them.

    Raises
    ------
    SourceError
        It is no label, or ends within one.
    """
    found = re.search(rb"^[ \t]*END[ \t]*\r?$", body, re.MULTILINE | re.IGNORECASE)
    if found is None or len(body) > LONGEST:
        raise SourceError(say("the label of {name} has no end", "the document"))
    return list(parsed(body[: found.start()].decode("latin-1"), "the document").cards())


def _label(path: Place) -> Place | None:
    """Find the label that lies beside a file, if that is what describes it."""
    for ending in (".lbl", ".LBL", ".xml", ".lblx"):
        beside = path.with_suffix(ending)
        if beside != path and beside.is_file() and not beside.is_symlink():
            with beside.open("rb") as file:
                medium = medium_of(beside.name, file.read(HEAD))
            if medium is not None and medium.beside:
                return beside
    return None


def open_product(
    path: Place,
    name: str | None = None,
    *,
    lines: bool = False,
    ask: Ask | None = None,
    head: bool = False,
    rasters: bool = False,
) -> Product:
    """Open a file as what it is.

    Parameters
    ----------
    path
        Of a file.
    name
        By which readers know it; None: the file's own.
    lines
        Parquet and delimited text are tables, too.
    ask
        What reads it for us, whatever it is: the path's columns of these names (None: all) from one row on, at most so many. The schema's metadata says how
        many `rows` there are, all else there are cards; a field's metadata its `unit`, `ucd`, `description`, and what its elements are as `bins`, in
        JSON: ``{"name": "frequency", "unit": "MHz", "centers": [10, 20]}``, or for `centers` the name of a column that has them for each row.
    head
        What is said of it as a whole is all that is wanted: parts may be missing.
    rasters
        GeoTIFF and JPEG 2000 are images, too, of which sizes, header and place are read, and no pixels.

    Returns
    -------
    product
        To be closed.

    Raises
    ------
    SourceError
        It is of no medium that is known, damaged, or empty.
    """
    name = name or path.name
    if ask is not None:
        return open_answered(path, name, ask)
    if rasters and _RASTERS.fullmatch(name) and (found := open_raster(path, name)) is not None:
        return found
    if lines and (found := open_lines(path, name)) is not None:
        return found
    try:
        with path.open("rb") as file:
            begin = file.read(HEAD)
        medium = medium_of(name, begin)
        if medium is None and begin and (label := _label(path)) is not None:
            product = open_product(label, head=head)
            product.beside = (label, *(one for one in product.beside if one != path))
            return product
        if not begin or medium is None:
            why = (
                say("{name} is empty", name) if not begin else say("{name} is of no kind that can be looked into", name)
            )
            raise SourceError(why, remedy=say("known kinds: {kinds}", ", ".join(one.title for one in media().values())))
        if head and medium.head is not None:
            return Product(medium=medium.name, parts=(), cards=tuple(medium.head(path)))
        product = medium.open(path)
    except OSError as error:
        raise SourceError(
            say("{name} cannot be read: {reason}", name, error.strerror or type(error).__name__)
        ) from None
    for one in media().values():
        if one.refines is not None and one.refines[0] == product.medium:
            product = one.refines[1](product) or product
    return product


__all__ = [
    "HEAD",
    "Array",
    "Axis",
    "Card",
    "Cut",
    "Distant",
    "Medium",
    "Part",
    "Place",
    "Product",
    "Rows",
    "Samples",
    "Selection",
    "as_fits",
    "as_votable",
    "cut",
    "media",
    "medium_of",
    "open_product",
    "read_label",
    "rotated",
    "selecting",
    "times",
    "wavelengths",
    "window",
]
